// The daemon's wire as a sans-I/O codec: bytes in, events out. docs/protocol.md describes it.
#pragma once

#include <QByteArray>
#include <QByteArrayView>
#include <QJsonObject>
#include <QString>

#include <optional>

namespace Whisper {

/// One event: its type, its data and its payload.
struct WireEvent {
    QString type;
    QJsonObject data;
    QByteArray payload;
};

/// Why a stream cannot be read any further; the codes are those of docs/protocol.md.
struct WireError {
    QString code;
    QString text;
};

/// The longest of each part, inclusive; the header's does not count its line feed.
struct WireLimits {
    qsizetype headerBytes = 16 * 1024;
    qsizetype dataBytes = 16 * 1024;
    qsizetype payloadBytes = 64 * 1024;
};

/// Turns the bytes of one direction of a connection into events, however they were split.
///
/// Call next() until it returns nothing before more is put in: then it holds at most one event within its limits,
/// and what the last receive() brought beyond it. A limit that is exceeded is an error as soon as it is announced;
/// after an error the decoder is dead, since where the next event begins is not known.
class WireDecoder
{
public:
    explicit WireDecoder(WireLimits limits = {});

    void receive(QByteArrayView bytes);
    std::optional<WireEvent> next();

    const std::optional<WireError> &error() const { return m_error; }
    qint64 events() const { return m_events; }
    qsizetype buffered() const { return m_buffer.size() - m_start; }
    bool midEvent() const { return !m_error && (m_header || buffered() > 0); }

private:
    struct Header {
        QString type;
        QJsonObject data;
        qsizetype dataLength = 0;
        qsizetype payloadLength = 0;
    };

    bool takeHeader();
    std::optional<Header> parseHeader(QByteArrayView line);
    QByteArrayView take(qsizetype count);
    void compact();
    void fail(const char *code, const QString &text);

    WireLimits m_limits;
    QByteArray m_buffer;
    qsizetype m_start = 0; // what is before it has been taken
    qsizetype m_searched = 0; // bytes from m_start known to hold no line feed
    std::optional<Header> m_header;
    std::optional<WireError> m_error;
    qint64 m_events = 0;
};

/// The bytes of an event. Its data goes into the data block, so that the header stays short.
QByteArray encode(const WireEvent &event);

} // namespace Whisper
