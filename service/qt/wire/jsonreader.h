// Strict JSON, as the daemon's codec reads it.
#pragma once

#include <QByteArrayView>
#include <QJsonObject>
#include <QSet>
#include <QString>

namespace Whisper {

/// Reads one JSON object and refuses exactly what service/whisperd/wire.py refuses.
///
/// QJsonDocument decides otherwise on a byte order mark, control characters, half surrogate pairs and depth, so
/// that one side of the socket would take what the other does not. Of a member that is there twice the last
/// counts, and only it: a NaN in the first does no harm.
class JsonReader
{
public:
    /// Levels of objects and arrays.
    static constexpr int MaxDepth = 32;
    /// Members of one object. The default limits of the wire have no room for so many; a larger data block has,
    /// and QJsonObject gets slow with them.
    static constexpr int MaxMembers = 4096;
    /// Digits of an integer, Python's limit.
    static constexpr int MaxDigits = 4300;

    explicit JsonReader(QByteArrayView bytes);

    /// Read; false if it is not an object within the limits, and error() says why.
    bool read();

    const QJsonObject &object() const { return m_object; }
    /// Members of the object itself that are written as integers: to QJsonValue 1 and 1.0 are the same.
    const QSet<QString> &integers() const { return m_integers; }
    const QString &error() const { return m_error; }

private:
    struct Value {
        QJsonValue json;
        bool integer = false;
        /// What is wrong with it, unless a later member of the same name takes its place.
        const char *fault = nullptr;
    };

    bool readValue(Value &value, int depth);
    bool readObject(Value &value, int depth);
    bool readArray(Value &value, int depth);
    bool readString(QString &text, bool &wellFormed);
    bool readEscape(QString &text);
    bool readNumber(Value &value);
    bool readWord(Value &value);
    bool skipDigits();
    void skipSpace();
    bool take(char wanted);
    bool fail(const char *what);
    char peek() const { return m_at < m_bytes.size() ? m_bytes[m_at] : '\0'; }

    QByteArrayView m_bytes;
    qsizetype m_at = 0;
    QJsonObject m_object;
    QSet<QString> m_integers;
    QString m_error;
};

/// The offset of the first byte that is not UTF-8 (RFC 3629: no overlong forms, no surrogates), or -1.
qsizetype firstNotUtf8(QByteArrayView bytes);

} // namespace Whisper
