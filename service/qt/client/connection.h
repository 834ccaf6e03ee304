// One connection to the daemon that comes back by itself.
#pragma once

#include "backoff.h"
#include "wiredecoder.h"

#include <QElapsedTimer>
#include <QJsonObject>
#include <QLocalSocket>
#include <QObject>
#include <QTimer>

namespace Whisper {

/// Socket, codec, introduction and sign of life; it knows events, and not what they mean.
///
/// Nothing here waits: what cannot be written at once is kept up to a cap, what has come is read in pieces of
/// bounded size, and a daemon that does not answer is left by a timer.
class Connection : public QObject
{
    Q_OBJECT

public:
    /// What waits to be written; a daemon that takes none of it for so long is not there any more.
    static constexpr qint64 MaxPendingBytes = 1024 * 1024;
    static constexpr qint64 MaxReadBytes = 256 * 1024;
    /// A transcript has some 100 bytes for each of its words; ten minutes can have 9,000 of them.
    static constexpr qsizetype MaxDataBytes = 4 * 1024 * 1024;
    /// A daemon that its socket has started first loads its model.
    static constexpr std::chrono::seconds HelloTimeout{200};
    static constexpr std::chrono::seconds PingInterval{20};
    static constexpr std::chrono::seconds PongTimeout{15};
    /// A connection that has lasted so long was a good one: the next is tried soon again.
    static constexpr std::chrono::seconds Lasting{5};

    explicit Connection(QObject *parent = nullptr);

    void open(const QString &path);
    void close();
    /// Drop the connection for a reason and try again later.
    void drop(const QString &code, const QString &text);
    /// Put an event into the socket's buffer; false if there is no room for it, or no connection.
    bool send(const QString &type, const QJsonObject &data = {}, const QByteArray &payload = {});

    bool introduced() const { return m_introduced; }
    qint64 pendingBytes() const { return m_socket.bytesToWrite(); }
    /// What the daemon said of itself in `hello`.
    const QJsonObject &hello() const { return m_hello; }

signals:
    /// The socket is open, and `hello` is not answered yet.
    void connected();
    void ready();
    void received(const QString &type, const QJsonObject &data);
    void written();
    /// There is no connection (any more); the next try is in `retry`.
    void lost(const QString &code, const QString &text, std::chrono::milliseconds retry);

private:
    void connectNow();
    void read();
    void take(const WireEvent &event);
    void ping();
    void onError(QLocalSocket::LocalSocketError error);

    QLocalSocket m_socket;
    WireDecoder m_decoder;
    Backoff m_backoff;
    QTimer m_retry;
    QTimer m_patience; // for hello, then for pong
    QTimer m_pings;
    QElapsedTimer m_since;
    QString m_path;
    QJsonObject m_hello;
    QString m_lastCode; // what the daemon said before it closed
    QString m_lastText;
    bool m_introduced = false;
    bool m_aborting = false;
    quint64 m_generation = 0; // of the connection, so that a slot that closes it is noticed
};

} // namespace Whisper
