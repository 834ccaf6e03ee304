#include "jsonreader.h"

#include <QJsonArray>

#include <cmath>
#include <limits>
#include <locale>
#include <sstream>

namespace Whisper {

namespace {

// Deeper than this nothing is read at all, so that the stack is bounded whatever stands in a member that is
// dropped.
constexpr int StackDepth = 256;

bool isDigit(char c)
{
    return c >= '0' && c <= '9';
}

int hexDigit(char c)
{
    if (isDigit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hasHalfPair(const QString &text)
{
    for (qsizetype i = 0; i < text.size(); ++i) {
        if (!text[i].isSurrogate())
            continue;
        if (!text[i].isHighSurrogate() || i + 1 == text.size() || !text[i + 1].isLowSurrogate())
            return true;
        ++i;
    }
    return false;
}

// The number of a literal, infinite where there is none so large.
double toDouble(const QByteArray &literal)
{
    bool ok = false;
    const double number = literal.toDouble(&ok);
    if (ok)
        return number;
    // Qt says 0 both of 1e999 and of 1e-999; C++ tells them apart.
    std::istringstream stream(literal.toStdString());
    stream.imbue(std::locale::classic());
    double nearest = 0;
    stream >> nearest;
    return std::abs(nearest) == std::numeric_limits<double>::max()
        ? std::copysign(std::numeric_limits<double>::infinity(), nearest)
        : nearest;
}

} // namespace

qsizetype firstNotUtf8(QByteArrayView bytes)
{
    const auto byte = [&](qsizetype at) { return static_cast<unsigned char>(bytes[at]); };
    for (qsizetype at = 0; at < bytes.size();) {
        const unsigned char first = byte(at);
        int more = 0;
        // The second byte's range is what excludes overlong forms, surrogates and what is above U+10FFFF.
        unsigned char low = 0x80;
        unsigned char high = 0xBF;
        if (first < 0x80) {
            ++at;
            continue;
        }
        if (first >= 0xC2 && first <= 0xDF) {
            more = 1;
        } else if (first >= 0xE0 && first <= 0xEF) {
            more = 2;
            low = first == 0xE0 ? 0xA0 : 0x80;
            high = first == 0xED ? 0x9F : 0xBF;
        } else if (first >= 0xF0 && first <= 0xF4) {
            more = 3;
            low = first == 0xF0 ? 0x90 : 0x80;
            high = first == 0xF4 ? 0x8F : 0xBF;
        } else {
            return at;
        }
        if (at + more >= bytes.size() || byte(at + 1) < low || byte(at + 1) > high)
            return at;
        for (int i = 2; i <= more; ++i) {
            if ((byte(at + i) & 0xC0) != 0x80)
                return at;
        }
        at += more + 1;
    }
    return -1;
}

JsonReader::JsonReader(QByteArrayView bytes)
    : m_bytes(bytes)
{
}

bool JsonReader::read()
{
    if (const qsizetype at = firstNotUtf8(m_bytes); at >= 0) {
        m_error = QStringLiteral("byte %1 is not UTF-8").arg(at);
        return false;
    }
    Value value;
    skipSpace();
    if (!readValue(value, 1))
        return false;
    skipSpace();
    if (m_at != m_bytes.size())
        return fail("more than one value");
    if (!value.json.isObject()) {
        m_error = QStringLiteral("not a JSON object");
        return false;
    }
    if (value.fault) {
        m_error = QString::fromLatin1(value.fault);
        return false;
    }
    m_object = value.json.toObject();
    return true;
}

bool JsonReader::fail(const char *what)
{
    m_error = QStringLiteral("not JSON: %1 at byte %2").arg(QLatin1String(what)).arg(m_at);
    return false;
}

void JsonReader::skipSpace()
{
    while (m_at < m_bytes.size()) {
        const char c = m_bytes[m_at];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            break;
        ++m_at;
    }
}

bool JsonReader::take(char wanted)
{
    if (m_at >= m_bytes.size() || m_bytes[m_at] != wanted)
        return false;
    ++m_at;
    return true;
}

bool JsonReader::readValue(Value &value, int depth)
{
    const char c = peek();
    if (c == '{' || c == '[') {
        if (depth > StackDepth)
            return fail("nested too deeply");
        if (!(c == '{' ? readObject(value, depth) : readArray(value, depth)))
            return false;
        if (depth > MaxDepth && !value.fault)
            value.fault = "nested deeper than 32 levels";
        return true;
    }
    if (c == '"') {
        QString text;
        bool wellFormed = true;
        if (!readString(text, wellFormed))
            return false;
        if (!wellFormed)
            value.fault = "a text holds half of a surrogate pair";
        else
            value.json = text;
        return true;
    }
    if (isDigit(c) || (c == '-' && m_at + 1 < m_bytes.size() && isDigit(m_bytes[m_at + 1])))
        return readNumber(value);
    return readWord(value);
}

bool JsonReader::readObject(Value &value, int depth)
{
    QJsonObject object;
    QSet<QString> faulty;
    const char *fault = nullptr;
    ++m_at;
    skipSpace();
    if (!take('}')) {
        while (true) {
            QString name;
            bool wellFormed = true;
            if (peek() != '"')
                return fail("no member name");
            if (!readString(name, wellFormed))
                return false;
            skipSpace();
            if (!take(':'))
                return fail("no colon");
            skipSpace();
            Value member;
            if (!readValue(member, depth + 1))
                return false;
            if (!wellFormed) {
                fault = "a text holds half of a surrogate pair";
            } else if (member.fault) {
                faulty.insert(name);
                value.fault = member.fault;
            } else {
                faulty.remove(name);
                object.insert(name, member.json);
                if (object.size() > MaxMembers)
                    return fail("too many members");
            }
            if (depth == 1) {
                if (member.integer)
                    m_integers.insert(name);
                else
                    m_integers.remove(name);
            }
            skipSpace();
            if (take('}'))
                break;
            if (!take(','))
                return fail("no comma");
            skipSpace();
        }
    }
    if (faulty.isEmpty())
        value.fault = fault;
    value.json = object;
    return true;
}

bool JsonReader::readArray(Value &value, int depth)
{
    QJsonArray array;
    ++m_at;
    skipSpace();
    if (!take(']')) {
        while (true) {
            Value element;
            if (!readValue(element, depth + 1))
                return false;
            if (element.fault)
                value.fault = element.fault;
            array.append(element.json);
            skipSpace();
            if (take(']'))
                break;
            if (!take(','))
                return fail("no comma");
            skipSpace();
        }
    }
    value.json = array;
    return true;
}

bool JsonReader::readString(QString &text, bool &wellFormed)
{
    ++m_at;
    bool escaped = false;
    qsizetype start = m_at;
    const auto takeRun = [&] { text += QString::fromUtf8(m_bytes.sliced(start, m_at - start)); };
    while (m_at < m_bytes.size()) {
        const char c = m_bytes[m_at];
        if (c == '"') {
            takeRun();
            ++m_at;
            // UTF-8 has no surrogates, so only escapes can have brought one.
            wellFormed = !escaped || !hasHalfPair(text);
            return true;
        }
        if (static_cast<unsigned char>(c) < 0x20)
            return fail("a control character in a text");
        if (c != '\\') {
            ++m_at;
            continue;
        }
        takeRun();
        escaped = true;
        ++m_at;
        if (!readEscape(text))
            return false;
        start = m_at;
    }
    return fail("a text without an end");
}

bool JsonReader::readEscape(QString &text)
{
    const char c = peek();
    ++m_at;
    switch (c) {
    case '"':
    case '\\':
    case '/':
        text += QLatin1Char(c);
        return true;
    case 'b':
        text += QLatin1Char('\b');
        return true;
    case 'f':
        text += QLatin1Char('\f');
        return true;
    case 'n':
        text += QLatin1Char('\n');
        return true;
    case 'r':
        text += QLatin1Char('\r');
        return true;
    case 't':
        text += QLatin1Char('\t');
        return true;
    case 'u':
        break;
    default:
        return fail("an unknown escape");
    }
    if (m_bytes.size() - m_at < 4)
        return fail("an escape without an end");
    ushort unit = 0;
    for (int i = 0; i < 4; ++i) {
        const int digit = hexDigit(m_bytes[m_at + i]);
        if (digit < 0)
            return fail("an escape that is not hexadecimal");
        unit = static_cast<ushort>(unit << 4 | digit);
    }
    m_at += 4;
    text += QChar(unit);
    return true;
}

bool JsonReader::skipDigits()
{
    if (!isDigit(peek()))
        return false;
    while (isDigit(peek()))
        ++m_at;
    return true;
}

bool JsonReader::readNumber(Value &value)
{
    const qsizetype start = m_at;
    take('-');
    const qsizetype digits = m_at;
    if (!take('0'))
        skipDigits();
    const qsizetype digitCount = m_at - digits;
    value.integer = true;
    if (take('.')) {
        value.integer = false;
        if (!skipDigits())
            return fail("no digit after the point");
    }
    if (peek() == 'e' || peek() == 'E') {
        value.integer = false;
        ++m_at;
        if (!take('+'))
            take('-');
        if (!skipDigits())
            return fail("no digit in the exponent");
    }
    const QByteArray literal = m_bytes.sliced(start, m_at - start).toByteArray();
    if (value.integer) {
        if (digitCount > MaxDigits)
            return fail("a number of too many digits");
        bool fits = false;
        if (const qint64 whole = literal.toLongLong(&fits); fits) {
            value.json = whole;
            return true;
        }
    }
    double number = toDouble(literal);
    if (!std::isfinite(number)) {
        // To Python an integer has any size: it is a number, and larger than any that means something here.
        if (value.integer)
            number = std::copysign(std::numeric_limits<double>::max(), number);
        else
            value.fault = "a number is not finite";
    }
    value.json = value.fault ? QJsonValue() : QJsonValue(number);
    return true;
}

bool JsonReader::readWord(Value &value)
{
    static const struct {
        const char *word;
        QJsonValue json;
        const char *fault;
    } words[] = {
        {"true", true, nullptr},
        {"false", false, nullptr},
        {"null", QJsonValue::Null, nullptr},
        {"NaN", QJsonValue::Null, "a number is not finite"},
        {"Infinity", QJsonValue::Null, "a number is not finite"},
        {"-Infinity", QJsonValue::Null, "a number is not finite"},
    };
    for (const auto &word : words) {
        if (m_bytes.sliced(m_at).startsWith(QByteArrayView(word.word))) {
            m_at += QByteArrayView(word.word).size();
            value.json = word.json;
            value.fault = word.fault;
            return true;
        }
    }
    return fail("no value");
}

} // namespace Whisper
