// WhisperClient: samples and files that are sent, to a daemon that plays a part and to the real one.
#include "client_driver.h"
#include "wavreader.h"

#include <QRegularExpression>

using namespace Whisper;

namespace {

QString plainWords(QString text)
{
    return text.toLower().remove(QRegularExpression(QStringLiteral("[^a-z ]"))).simplified();
}

} // namespace

class TestAudio : public ClientDriver
{
    Q_OBJECT

private slots:
    void audioOfOnesOwn();
    void badAudioIsRefused();
    void filesArePumped();
    void badFilesAreRefused_data();
    void badFilesAreRefused();
    void aDaemonThatDoesNotReadIsNotWaitedFor();
    void realDaemonTranscribes();
    void realDaemonIsKilledAndComesBack();
};

void TestAudio::audioOfOnesOwn()
{
    QVERIFY(startReady());
    const QVariantMap format{{QStringLiteral("rate"), 48000}, {QStringLiteral("channels"), 2}};
    QVERIFY(m_client->sendAudio(QByteArray(70'000, '\1'), format));
    QVERIFY(m_daemon->hears("transcribe"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("live")).toBool(), true);
    QVERIFY(m_daemon->hears("audio-start"));
    QCOMPARE(
        m_daemon->lastData(),
        QJsonObject(
            {{QStringLiteral("rate"), 48000}, {QStringLiteral("width"), 2}, {QStringLiteral("channels"), 2}}));
    QVERIFY(m_client->sendAudio(QByteArray(4, '\1')));
    for (const int bytes : {32768, 32768, 4464, 4}) {
        QVERIFY(m_daemon->hears("audio-chunk"));
        QCOMPARE(m_daemon->last().value(QLatin1String("payload_bytes")).toInt(), bytes);
    }
    QCOMPARE(m_client->state(), WhisperClient::Listening);
    m_client->stop();
    QVERIFY(m_daemon->hears("audio-stop"));
    QVERIFY(!m_client->sendAudio(QByteArray(4, '\1')));
    // A daemon that does not follow live says one thing, and that is the end.
    m_daemon->say("transcript", {{QStringLiteral("text"), QStringLiteral("pushed")}});
    QVERIFY(becomes(WhisperClient::Ready));
    QCOMPARE(m_client->finalText(), QStringLiteral("pushed"));

    // One that does says when it is over.
    QVERIFY(m_client->sendAudio(QByteArray(4, '\1')));
    QVERIFY(m_daemon->hears("audio-chunk"));
    m_daemon->say("voice-started");
    QVERIFY(becomes(WhisperClient::Hearing));
    m_client->stop();
    QVERIFY(m_daemon->hears("audio-stop"));
    m_daemon->say("transcript", {{QStringLiteral("text"), QStringLiteral("first")}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->finalText(), QStringLiteral("first"), Patience);
    QCOMPARE(m_client->state(), WhisperClient::Thinking);
    m_daemon->say("listen-stopped");
    QVERIFY(becomes(WhisperClient::Ready));
}

void TestAudio::badAudioIsRefused()
{
    QVERIFY(startReady());
    QVERIFY(!m_client->sendAudio("ab", {{QStringLiteral("rate"), 1}}));
    QCOMPARE(m_client->errorCode(), QStringLiteral("bad-format"));
    QVERIFY(!m_client->sendAudio("abc"));
    QCOMPARE(m_client->errorCode(), QStringLiteral("bad-payload"));
}

void TestAudio::filesArePumped()
{
    // Longer than what the socket is given at once.
    const QByteArray samples(10 * 32'000, '\2');
    QByteArray wav = contents(sample("sample.wav")).left(44);
    const quint32 bytes = static_cast<quint32>(samples.size());
    wav.replace(40, 4, QByteArray(reinterpret_cast<const char *>(&bytes), 4));
    QFile file(m_folder->filePath(QStringLiteral("long.wav")));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(wav + samples);
    file.close();

    QVERIFY(startReady());
    QVERIFY(m_client->transcribeFile(QUrl::fromLocalFile(file.fileName())));
    QCOMPARE(m_client->state(), WhisperClient::Thinking);
    QVERIFY(m_daemon->hears("transcribe"));
    QVERIFY(!m_daemon->lastData().contains(QLatin1String("live")));
    QVERIFY(m_daemon->hears("audio-start"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("rate")).toInt(), 16000);
    int total = 0;
    while (total < samples.size()) {
        QVERIFY(m_daemon->hears("audio-chunk"));
        total += m_daemon->last().value(QLatin1String("payload_bytes")).toInt();
    }
    QCOMPARE(total, static_cast<int>(samples.size()));
    QVERIFY(m_daemon->hears("audio-stop"));
    m_daemon->say("transcript", {{QStringLiteral("text"), QStringLiteral("long")}});
    QVERIFY(becomes(WhisperClient::Ready));
    QCOMPARE(m_client->finalText(), QStringLiteral("long"));
}

void TestAudio::badFilesAreRefused_data()
{
    const QByteArray good = contents(sample("command.wav"));
    const auto with
        = [&](qsizetype at, const QByteArray &bytes) { return QByteArray(good).replace(at, bytes.size(), bytes); };
    QTest::addColumn<QByteArray>("content");
    QTest::newRow("empty") << QByteArray();
    QTest::newRow("text") << QByteArray("this is a text and no sound, whatever it is called");
    QTest::newRow("cut in its header") << good.left(30);
    QTest::newRow("no samples") << good.left(44);
    QTest::newRow("float") << with(20, QByteArray("\3\0", 2));
    QTest::newRow("no channel") << with(22, QByteArray("\0\0", 2));
    QTest::newRow("too many bits") << with(34, QByteArray("\377\377", 2));
    QTest::newRow("a format of 4 GB") << with(16, QByteArray("\377\377\377\377", 4));
    QTest::newRow("only other chunks") << QByteArray("RIFF\0\0\0\0WAVE", 12)
            + QByteArray("LIST\0\0\0\0", 8).repeated(100);
}

void TestAudio::badFilesAreRefused()
{
    QFETCH(QByteArray, content);
    QFile file(m_folder->filePath(QStringLiteral("bad.wav")));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write(content);
    file.close();
    WavReader reader(file.fileName());
    QVERIFY(!reader.open());
    QVERIFY(reader.error().contains(QLatin1String("bad.wav: ")));

    WavReader good(sample("command.wav"));
    QVERIFY(good.open());
    QCOMPARE(good.format().rate, 16000);
    QVERIFY(good.seconds() > 1);
}

void TestAudio::aDaemonThatDoesNotReadIsNotWaitedFor()
{
    QVERIFY(startReady());
    QSignalSpy overrun(m_client.get(), &WhisperClient::overrun);
    m_daemon->act({{QStringLiteral("deaf"), true}});
    const QByteArray second(32'000, '\0');
    int taken = 0;
    while (taken < 1000 && m_client->sendAudio(second))
        ++taken;
    // The cap is 1 MiB, and the kernel's buffers take some more.
    QVERIFY2(taken >= 30 && taken < 60, qPrintable(QString::number(taken)));
    QVERIFY(overrun.size() == 1 && overrun.first().first().toDouble() > 0);
    QCOMPARE(m_client->errorCode(), QStringLiteral("overrun"));
    // What is not audio must not be lost: for want of room for it the daemon is left, and that takes no time
    // either.
    while (m_client->sendAudio("ab"))
        ++taken;
    QVERIFY(!m_client->listen());
    QCOMPARE(m_client->state(), WhisperClient::Disconnected);
    QCOMPARE(m_client->errorCode(), QStringLiteral("no-answer"));
}

void TestAudio::realDaemonTranscribes()
{
    if (!RealDaemon::available())
        QSKIP("META_WHISPER_DAEMON does not say how whisperd is started");
    RealDaemon daemon(m_socket);
    daemon.start();
    m_client = std::make_unique<WhisperClient>();
    m_client->setSocketPath(m_socket);
    QVERIFY2(becomes(WhisperClient::Ready), daemon.log());
    QTRY_COMPARE_WITH_TIMEOUT(m_client->modelName(), QStringLiteral("base"), Patience);
    m_client->setLanguage(QStringLiteral("en"));
    QVERIFY(m_client->transcribeFile(QUrl::fromLocalFile(sample("sample.wav"))));
    QVERIFY(becomes(WhisperClient::Ready));
    QCOMPARE(plainWords(m_client->finalText()),
             QStringLiteral("how long will it take to drive to the airport in this traffic"));
    QCOMPARE(m_client->finalLanguage(), QStringLiteral("en"));

    m_client->setLanguage(QStringLiteral("xx"));
    QVERIFY(m_client->transcribeFile(QUrl::fromLocalFile(sample("command.wav"))));
    QVERIFY(becomes(WhisperClient::Ready));
    QTRY_COMPARE_WITH_TIMEOUT(m_client->errorCode(), QStringLiteral("unknown-language"), Patience);
}

void TestAudio::realDaemonIsKilledAndComesBack()
{
    if (!RealDaemon::available())
        QSKIP("META_WHISPER_DAEMON does not say how whisperd is started");
    RealDaemon daemon(m_socket);
    daemon.start();
    m_client = std::make_unique<WhisperClient>();
    m_client->setSocketPath(m_socket);
    QVERIFY2(becomes(WhisperClient::Ready), daemon.log());
    QVERIFY(m_client->transcribeFile(QUrl::fromLocalFile(sample("sample.wav"))));
    daemon.kill();
    QVERIFY(becomes(WhisperClient::Disconnected));
    daemon.start();
    QVERIFY2(becomes(WhisperClient::Ready), daemon.log());
    QVERIFY(m_client->transcribeFile(QUrl::fromLocalFile(sample("command.wav"))));
    QVERIFY(becomes(WhisperClient::Ready));
    QVERIFY(plainWords(m_client->finalText()).contains(QLatin1String("air conditioning")));
}

QTEST_MAIN(TestAudio)
#include "tst_audio.moc"
