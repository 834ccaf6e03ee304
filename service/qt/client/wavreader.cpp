#include "wavreader.h"

#include <QtEndian>

namespace Whisper {

namespace {

constexpr quint16 Pcm = 1;
constexpr quint16 Extensible = 0xFFFE;
// A file has a handful of chunks before its samples.
constexpr int MaxChunks = 64;
constexpr qint64 MaxFormatBytes = 64;

quint16 shortAt(const QByteArray &bytes, qsizetype at)
{
    return qFromLittleEndian<quint16>(bytes.constData() + at);
}

quint32 longAt(const QByteArray &bytes, qsizetype at)
{
    return qFromLittleEndian<quint32>(bytes.constData() + at);
}

} // namespace

WavReader::WavReader(const QString &path)
    : m_file(path)
{
}

bool WavReader::fail(const QString &why)
{
    m_error = m_file.fileName() + QStringLiteral(": ") + why;
    return false;
}

bool WavReader::open()
{
    if (!m_file.open(QIODevice::ReadOnly))
        return fail(m_file.errorString());
    const QByteArray riff = m_file.read(12);
    if (riff.size() != 12 || !riff.startsWith("RIFF") || riff.mid(8) != "WAVE")
        return fail(QStringLiteral("not a WAV file"));
    bool hasFormat = false;
    for (int i = 0; i < MaxChunks; ++i) {
        const QByteArray head = m_file.read(8);
        if (head.size() != 8)
            break;
        const qint64 length = longAt(head, 4);
        if (head.startsWith("fmt ")) {
            if (!readFormat(length))
                return false;
            hasFormat = true;
        } else if (head.startsWith("data")) {
            if (!hasFormat)
                return fail(QStringLiteral("samples before their format"));
            // A recorder that was interrupted leaves a length that is not the file's.
            m_left = qMin(length, m_file.size() - m_file.pos());
            m_left -= m_left % m_format.frameBytes();
            return m_left > 0 || fail(QStringLiteral("no samples"));
        } else if (!m_file.seek(m_file.pos() + length + (length & 1))) {
            break;
        }
    }
    return fail(QStringLiteral("no samples"));
}

bool WavReader::readFormat(qint64 length)
{
    if (length < 16 || length > MaxFormatBytes)
        return fail(QStringLiteral("not a WAV file"));
    const QByteArray format = m_file.read(length + (length & 1));
    if (format.size() < length)
        return fail(QStringLiteral("the file ends in its header"));
    quint16 kind = shortAt(format, 0);
    if (kind == Extensible && length >= 26)
        kind = shortAt(format, 24);
    const int bits = shortAt(format, 14);
    m_format = {static_cast<int>(qMin(longAt(format, 4), 1'000'000u)), (bits + 7) / 8, shortAt(format, 2)};
    if (kind != Pcm || !m_format.isSound()) {
        return fail(QStringLiteral("samples of a kind that is not supported (integers of 8 to 32 bits, at most 8 "
                                   "channels, are)"));
    }
    return true;
}

QByteArray WavReader::read(qint64 most)
{
    most -= most % m_format.frameBytes();
    QByteArray samples = m_file.read(qMin(most, m_left));
    samples.chop(samples.size() % m_format.frameBytes());
    m_left = samples.isEmpty() ? 0 : m_left - samples.size();
    return samples;
}

double WavReader::seconds() const
{
    return static_cast<double>(m_left) / m_format.frameBytes() / m_format.rate;
}

} // namespace Whisper
