#include "wiredecoder.h"

#include "jsonreader.h"

#include <QJsonDocument>

namespace Whisper {

namespace {

struct Length {
    qsizetype value = 0;
    const char *code = nullptr;
    QString text;
};

Length readLength(const JsonReader &header, const QString &name, qsizetype limit)
{
    const QJsonValue value = header.object().value(name);
    if (value.isUndefined() || value.isNull())
        return {};
    // Neither true nor 1.0: whole numbers are written as such. As double, since a huge one has no other type.
    if (!header.integers().contains(name) || value.toDouble() < 0)
        return {0, "bad-header", name + QStringLiteral(" is not a whole number of bytes")};
    if (value.toDouble() > static_cast<double>(limit))
        return {0, "payload-too-long", name + QStringLiteral(" is over the limit of %1 bytes").arg(limit)};
    return {static_cast<qsizetype>(value.toInteger()), nullptr, {}};
}

} // namespace

WireDecoder::WireDecoder(WireLimits limits)
    : m_limits(limits)
{
}

void WireDecoder::receive(QByteArrayView bytes)
{
    if (m_error)
        return;
    compact();
    m_buffer.append(bytes.data(), bytes.size());
}

std::optional<WireEvent> WireDecoder::next()
{
    if (m_error || (!m_header && !takeHeader()))
        return {};
    if (buffered() < m_header->dataLength + m_header->payloadLength)
        return {};
    WireEvent event{m_header->type, m_header->data, {}};
    if (m_header->dataLength > 0) {
        JsonReader reader(take(m_header->dataLength));
        if (!reader.read()) {
            fail("bad-data", QStringLiteral("data block: ") + reader.error());
            return {};
        }
        const QJsonObject &block = reader.object();
        for (auto member = block.begin(); member != block.end(); ++member)
            event.data.insert(member.key(), member.value());
    }
    event.payload = take(m_header->payloadLength).toByteArray();
    m_header.reset();
    ++m_events;
    return event;
}

bool WireDecoder::takeHeader()
{
    const qsizetype end = m_buffer.indexOf('\n', m_start + m_searched);
    const qsizetype length = end < 0 ? buffered() : end - m_start;
    if (length > m_limits.headerBytes) {
        fail("header-too-long", QStringLiteral("header line is longer than %1 bytes").arg(m_limits.headerBytes));
        return false;
    }
    if (end < 0) {
        m_searched = length;
        return false;
    }
    m_searched = 0;
    m_header = parseHeader(take(length + 1).chopped(1));
    return m_header.has_value();
}

std::optional<WireDecoder::Header> WireDecoder::parseHeader(QByteArrayView line)
{
    const auto refuse = [this](const char *code, const QString &text) {
        fail(code, QStringLiteral("header: ") + text);
        return std::nullopt;
    };
    JsonReader reader(line);
    if (!reader.read())
        return refuse("bad-header", reader.error());
    const QJsonValue type = reader.object().value(QLatin1String("type"));
    if (!type.isString() || type.toString().isEmpty())
        return refuse("bad-header", QStringLiteral("no type"));
    const QJsonValue data = reader.object().value(QLatin1String("data"));
    if (!data.isObject() && !data.isNull() && !data.isUndefined())
        return refuse("bad-header", QStringLiteral("data is not an object"));
    const Length dataLength = readLength(reader, QStringLiteral("data_length"), m_limits.dataBytes);
    if (dataLength.code)
        return refuse(dataLength.code, dataLength.text);
    const Length payloadLength = readLength(reader, QStringLiteral("payload_length"), m_limits.payloadBytes);
    if (payloadLength.code)
        return refuse(payloadLength.code, payloadLength.text);
    return Header{type.toString(), data.toObject(), dataLength.value, payloadLength.value};
}

QByteArrayView WireDecoder::take(qsizetype count)
{
    const QByteArrayView taken = QByteArrayView(m_buffer).sliced(m_start, count);
    m_start += count;
    return taken;
}

void WireDecoder::compact()
{
    // Only when more comes in: views of what was taken stay valid until then, and small events of one large read
    // do not each move the rest.
    m_buffer.remove(0, m_start);
    m_start = 0;
}

void WireDecoder::fail(const char *code, const QString &text)
{
    m_error = WireError{QLatin1String(code), QStringLiteral("event %1: %2").arg(m_events + 1).arg(text)};
    m_header.reset();
    m_buffer.clear();
    m_start = 0;
    m_searched = 0;
}

QByteArray encode(const WireEvent &event)
{
    QJsonObject header{{QStringLiteral("type"), event.type}};
    QByteArray data;
    if (!event.data.isEmpty()) {
        data = QJsonDocument(event.data).toJson(QJsonDocument::Compact);
        header.insert(QStringLiteral("data_length"), data.size());
    }
    if (!event.payload.isEmpty())
        header.insert(QStringLiteral("payload_length"), event.payload.size());
    return QJsonDocument(header).toJson(QJsonDocument::Compact) + '\n' + data + event.payload;
}

} // namespace Whisper
