#include "connection.h"

#include <QJsonArray>

namespace Whisper {

namespace {

WireLimits fromDaemon()
{
    WireLimits limits;
    limits.dataBytes = Connection::MaxDataBytes;
    return limits;
}

} // namespace

Connection::Connection(QObject *parent)
    : QObject(parent)
    , m_decoder(fromDaemon())
{
    m_socket.setReadBufferSize(MaxReadBytes);
    m_retry.setSingleShot(true);
    m_patience.setSingleShot(true);
    m_pings.setInterval(PingInterval);
    connect(&m_retry, &QTimer::timeout, this, &Connection::connectNow);
    connect(&m_pings, &QTimer::timeout, this, &Connection::ping);
    connect(&m_patience, &QTimer::timeout, this,
            [this] { drop(QStringLiteral("no-answer"), QStringLiteral("whisperd does not answer")); });
    connect(&m_socket, &QLocalSocket::connected, this, [this] {
        m_patience.start(HelloTimeout);
        emit connected();
        send(QStringLiteral("hello"),
             {{QStringLiteral("protocol"), 1},
              {QStringLiteral("features"),
               QJsonArray{QStringLiteral("listen"), QStringLiteral("partial"), QStringLiteral("level"),
                          QStringLiteral("no-speech"), QStringLiteral("model-loading")}}});
    });
    connect(&m_socket, &QLocalSocket::readyRead, this, &Connection::read);
    connect(&m_socket, &QLocalSocket::bytesWritten, this, &Connection::written);
    connect(&m_socket, &QLocalSocket::errorOccurred, this, &Connection::onError);
}

void Connection::open(const QString &path)
{
    close();
    m_path = path;
    m_backoff.reset();
    // Not now: who opens it in a constructor still wants to connect signals.
    m_retry.start(0);
}

void Connection::close()
{
    m_retry.stop();
    m_patience.stop();
    m_pings.stop();
    m_introduced = false;
    ++m_generation;
    m_aborting = true;
    m_socket.abort();
    m_aborting = false;
}

void Connection::connectNow()
{
    m_decoder = WireDecoder(fromDaemon());
    m_lastCode.clear();
    m_lastText.clear();
    m_socket.connectToServer(m_path);
}

void Connection::onError(QLocalSocket::LocalSocketError error)
{
    if (m_aborting)
        return;
    switch (error) {
    case QLocalSocket::ServerNotFoundError:
    case QLocalSocket::ConnectionRefusedError:
        return drop(QStringLiteral("not-running"), QStringLiteral("whisperd is not running"));
    case QLocalSocket::SocketAccessError:
        return drop(QStringLiteral("permission-denied"),
                    QStringLiteral("this user may not open %1: it is not in the socket's group").arg(m_path));
    default:
        break;
    }
    // Its last words may still be unread.
    const quint64 generation = m_generation;
    read();
    if (generation == m_generation) {
        if (m_lastCode.isEmpty())
            return drop(QStringLiteral("connection-lost"), QStringLiteral("the connection to whisperd broke"));
        drop(m_lastCode, m_lastText);
    }
}

void Connection::drop(const QString &code, const QString &text)
{
    const bool lasted = m_introduced && m_since.hasExpired(std::chrono::milliseconds(Lasting).count());
    close();
    if (lasted)
        m_backoff.reset();
    const std::chrono::milliseconds wait = m_backoff.next();
    m_retry.start(wait);
    emit lost(code, text, wait);
}

bool Connection::send(const QString &type, const QJsonObject &data, const QByteArray &payload)
{
    if (m_socket.state() != QLocalSocket::ConnectedState)
        return false;
    const QByteArray bytes = encode({type, data, payload});
    if (m_socket.bytesToWrite() + bytes.size() > MaxPendingBytes)
        return false;
    return m_socket.write(bytes) == bytes.size();
}

void Connection::read()
{
    // One buffer's worth: the event loop has other work too, and is told of what comes next.
    const quint64 generation = m_generation;
    m_decoder.receive(m_socket.read(MaxReadBytes));
    while (const std::optional<WireEvent> event = m_decoder.next()) {
        take(*event);
        if (generation != m_generation)
            return;
    }
    if (m_decoder.error()) {
        drop(QStringLiteral("bad-wire"),
             QStringLiteral("%1: not what whisperd says: %2").arg(m_path, m_decoder.error()->text));
    } else if (m_socket.bytesAvailable() > 0) {
        QMetaObject::invokeMethod(this, &Connection::read, Qt::QueuedConnection);
    }
}

void Connection::take(const WireEvent &event)
{
    if (event.type == QLatin1String("pong")) {
        m_patience.stop();
    } else if (event.type == QLatin1String("hello") && !m_introduced) {
        m_hello = event.data;
        m_introduced = true;
        m_patience.stop();
        m_pings.start();
        m_since.start();
        emit ready();
    } else {
        if (event.type == QLatin1String("error") && !event.data.contains(QLatin1String("id"))) {
            m_lastCode = event.data.value(QLatin1String("code")).toString(QStringLiteral("internal"));
            m_lastText = event.data.value(QLatin1String("text")).toString();
        }
        emit received(event.type, event.data);
    }
}

void Connection::ping()
{
    if (m_patience.isActive())
        return;
    if (send(QStringLiteral("ping")))
        m_patience.start(PongTimeout);
    else
        drop(QStringLiteral("no-answer"), QStringLiteral("whisperd does not read what it is sent"));
}

} // namespace Whisper
