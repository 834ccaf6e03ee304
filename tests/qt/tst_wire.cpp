// The codec, by the corpus that it shares with Python's (tests/data/wire) and by what only this one decides.
#include "jsonreader.h"
#include "wiredecoder.h"

#include <QFile>
#include <QJsonArray>
#include <QJsonDocument>
#include <QRandomGenerator>
#include <QtTest>

using namespace Whisper;

namespace {

struct Case {
    QJsonObject expected;
    QByteArray stream;
};

struct Heard {
    QJsonArray events;
    QJsonValue error = QJsonValue::Null;
    bool midEvent = false;
    qsizetype buffered = 0;
};

QByteArray contents(const QString &name)
{
    // Another corpus of make_wire_corpus.py can be named, for a longer comparison of the two codecs.
    const QString folder = qEnvironmentVariable("WHISPER_WIRE_CORPUS", QStringLiteral(ROOT "/tests/data/wire"));
    QFile file(folder + QLatin1Char('/') + name);
    return file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray();
}

QList<Case> corpus()
{
    QList<Case> cases;
    for (const QString &name : {QStringLiteral("written"), QStringLiteral("random")}) {
        const QByteArray raw = contents(name + QStringLiteral(".bin"));
        qsizetype at = 0;
        const QJsonArray listing = QJsonDocument::fromJson(contents(name + QStringLiteral(".json"))).array();
        for (const QJsonValue &entry : listing) {
            const qsizetype bytes = entry[QLatin1String("bytes")].toInteger();
            cases.append({entry.toObject(), raw.mid(at, bytes)});
            at += bytes;
        }
        if (at != raw.size())
            return {};
    }
    return cases;
}

WireLimits limitsOf(const QJsonObject &expected)
{
    const QJsonObject given = expected.value(QLatin1String("limits")).toObject();
    WireLimits limits;
    limits.headerBytes = given.value(QLatin1String("header_bytes")).toInteger(limits.headerBytes);
    limits.dataBytes = given.value(QLatin1String("data_bytes")).toInteger(limits.dataBytes);
    limits.payloadBytes = given.value(QLatin1String("payload_bytes")).toInteger(limits.payloadBytes);
    return limits;
}

Heard hear(const QList<QByteArray> &parts, WireLimits limits)
{
    WireDecoder decoder(limits);
    Heard heard;
    for (const QByteArray &part : parts) {
        decoder.receive(part);
        while (const std::optional<WireEvent> event = decoder.next()) {
            heard.events.append(
                QJsonObject{{QStringLiteral("type"), event->type},
                            {QStringLiteral("data"), event->data},
                            {QStringLiteral("payload"), QString::fromLatin1(event->payload.toBase64())}});
        }
    }
    if (decoder.error())
        heard.error = decoder.error()->code;
    heard.midEvent = decoder.midEvent();
    heard.buffered = decoder.buffered();
    return heard;
}

QList<QByteArray> split(const QByteArray &stream, QList<qsizetype> cuts)
{
    std::sort(cuts.begin(), cuts.end());
    cuts.append(stream.size());
    QList<QByteArray> parts;
    qsizetype start = 0;
    for (const qsizetype cut : cuts) {
        parts.append(stream.mid(start, cut - start));
        start = cut;
    }
    return parts;
}

QByteArray header(const char *rest)
{
    return QByteArray("{\"type\":\"x\",") + rest + "}\n";
}

} // namespace

class TestWire : public QObject
{
    Q_OBJECT

private slots:
    void corpusGivesTheSameEvents_data();
    void corpusGivesTheSameEvents();
    void anyByteChangedIsNoCrash();
    void anErrorIsLasting();
    void anIntegerOfAnySizeIsANumber();
    void manyMembersAreRefused();
    void whatIsEncodedIsDecoded();
    void smallEventsOfALargeReadAreLinear();
};

void TestWire::corpusGivesTheSameEvents_data()
{
    QTest::addColumn<QString>("way");
    for (const char *way : {"whole", "bytes", "random"})
        QTest::newRow(way) << QString::fromLatin1(way);
}

void TestWire::corpusGivesTheSameEvents()
{
    QFETCH(QString, way);
    const QList<Case> cases = corpus();
    QVERIFY(cases.size() > 500);
    QRandomGenerator random(1);
    for (const Case &one : cases) {
        QList<qsizetype> cuts;
        const qsizetype size = one.stream.size();
        if (way == QLatin1String("bytes")) {
            for (qsizetype at = 1; at < size; ++at)
                cuts.append(at);
        } else if (way == QLatin1String("random")) {
            for (int i = 0; i < 5; ++i)
                cuts.append(random.bounded(static_cast<int>(size) + 1));
        }
        const Heard heard = hear(split(one.stream, cuts), limitsOf(one.expected));
        const QByteArray name = one.expected.value(QLatin1String("name")).toString().toUtf8();
        const auto inOneLine
            = [](const QJsonArray &events) { return QJsonDocument(events).toJson(QJsonDocument::Compact); };
        const QJsonArray events = one.expected.value(QLatin1String("events")).toArray();
        if (heard.events != events)
            qWarning() << name << inOneLine(heard.events) << "instead of" << inOneLine(events);
        QCOMPARE(heard.events, events);
        QVERIFY2(heard.error == one.expected.value(QLatin1String("error")), name);
        QVERIFY2(heard.midEvent == one.expected.value(QLatin1String("mid_event")).toBool(), name);
        if (!heard.error.isNull())
            QCOMPARE(heard.buffered, 0);
    }
}

void TestWire::anyByteChangedIsNoCrash()
{
    const QByteArray good = encode({QStringLiteral("partial"),
                                    {{QStringLiteral("stable"), QStringLiteral("😀ä")},
                                     {QStringLiteral("revision"), 3},
                                     {QStringLiteral("list"), QJsonArray{1.5, true, QJsonObject()}}},
                                    "pay"});
    int survived = 0;
    for (qsizetype at = 0; at < good.size(); ++at) {
        for (int to = 0; to < 256; ++to) {
            QByteArray changed = good;
            changed[at] = static_cast<char>(to);
            WireDecoder decoder;
            decoder.receive(changed);
            while (decoder.next())
                ++survived;
            QVERIFY(decoder.buffered() <= good.size());
        }
    }
    QVERIFY(survived > 256);
}

void TestWire::anErrorIsLasting()
{
    WireDecoder decoder;
    decoder.receive("{\"type\":\"a\"}\n{\"type\":\"b\"}\nnonsense\n{\"type\":\"c\"}\n");
    QCOMPARE(decoder.next()->type, QStringLiteral("a"));
    QCOMPARE(decoder.next()->type, QStringLiteral("b"));
    for (int i = 0; i < 3; ++i) {
        QVERIFY(!decoder.next());
        QCOMPARE(decoder.error()->code, QStringLiteral("bad-header"));
        QVERIFY2(decoder.error()->text.startsWith(QLatin1String("event 3: header: ")),
                 qPrintable(decoder.error()->text));
        decoder.receive(QByteArray(1'000'000, 'x'));
        QCOMPARE(decoder.buffered(), 0);
    }
}

void TestWire::anIntegerOfAnySizeIsANumber()
{
    // Not in the corpus: to Python it is an integer of 400 digits.
    WireDecoder decoder;
    decoder.receive(header(("\"data\":{\"a\":-" + QByteArray(400, '9') + "}").constData()));
    const std::optional<WireEvent> event = decoder.next();
    QVERIFY(event);
    QCOMPARE(event->data.value(QLatin1String("a")).toDouble(), -std::numeric_limits<double>::max());
    decoder.receive(header(("\"payload_length\":" + QByteArray(400, '9')).constData()));
    QVERIFY(!decoder.next());
    QCOMPARE(decoder.error()->code, QStringLiteral("payload-too-long"));
}

void TestWire::manyMembersAreRefused()
{
    const auto members = [](int count) {
        QByteArray object = "{";
        for (int i = 0; i < count; ++i)
            object += '"' + QByteArray::number(i) + "\":0,";
        object.back() = '}';
        return object;
    };
    const QByteArray good = members(JsonReader::MaxMembers);
    JsonReader taken(good);
    QVERIFY(taken.read());
    QCOMPARE(taken.object().size(), JsonReader::MaxMembers);
    const QByteArray bad = members(JsonReader::MaxMembers + 1);
    JsonReader refused(bad);
    QVERIFY(!refused.read());
}

void TestWire::whatIsEncodedIsDecoded()
{
    const WireEvent sent{QStringLiteral("ä\n"),
                         {{QStringLiteral("text"), QStringLiteral("مرحبا\n\"😀")}, {QStringLiteral("n"), 1.25}},
                         QByteArray("\n\0{", 3)};
    WireDecoder decoder;
    decoder.receive(encode(sent) + encode({QStringLiteral("ping"), {}, {}}));
    const std::optional<WireEvent> first = decoder.next();
    QVERIFY(first);
    QCOMPARE(first->type, sent.type);
    QCOMPARE(first->data, sent.data);
    QCOMPARE(first->payload, sent.payload);
    QCOMPARE(decoder.next()->type, QStringLiteral("ping"));
    QVERIFY(!decoder.next());
    QVERIFY(!decoder.midEvent());
    QCOMPARE(decoder.events(), 2);
}

void TestWire::smallEventsOfALargeReadAreLinear()
{
    // 2 MB in 100,000 events: moving the rest for each would be 100 GB, and no test would end.
    const int count = 100'000;
    WireDecoder decoder;
    decoder.receive(QByteArray("{\"type\":\"level!\"}\n").repeated(count));
    int found = 0;
    while (decoder.next())
        ++found;
    QCOMPARE(found, count);
    QCOMPARE(decoder.buffered(), 0);
}

QTEST_APPLESS_MAIN(TestWire)
#include "tst_wire.moc"
