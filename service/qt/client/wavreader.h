// PCM out of a WAV file, piece by piece.
#pragma once

#include <QFile>
#include <QString>

namespace Whisper {

/// Samples as `audio-start` describes them.
struct PcmFormat {
    int rate = 16000;
    int width = 2;
    int channels = 1;

    int frameBytes() const { return width * channels; }
    /// What the daemon converts; it says more about what it does not.
    bool isSound() const
    {
        return rate >= 4000 && rate <= 384000 && width >= 1 && width <= 4 && channels >= 1 && channels <= 8;
    }
};

/// Reads RIFF/WAVE with integer samples. Holds no more than what is asked for; believes no length in the file.
class WavReader
{
public:
    explicit WavReader(const QString &path);

    /// Open and read the headers; false if it is no such file, and error() says why.
    bool open();
    /// At most this many bytes, whole frames; empty at the end.
    QByteArray read(qint64 most);

    const PcmFormat &format() const { return m_format; }
    double seconds() const;
    const QString &error() const { return m_error; }

private:
    bool fail(const QString &why);
    bool readFormat(qint64 length);

    QFile m_file;
    PcmFormat m_format;
    qint64 m_left = 0;
    QString m_error;
};

} // namespace Whisper
