// WhisperClient: connecting, listening, and what goes wrong, against a daemon that plays a part.
#include "backoff.h"
#include "client_driver.h"

#include <QQmlComponent>
#include <QQmlEngine>

using namespace Whisper;

class TestClient : public ClientDriver
{
    Q_OBJECT

private slots:
    void backoffGrowsToFiveSeconds();
    void connectsAndLearnsOfTheDaemon();
    void saysThatNobodyIsThere();
    void loadsUntilHello();
    void oneByteAtATime();
    void handsFree();
    void longAnswer();
    void pushToTalk();
    void listeningIntoAnAnswerCancelsIt();
    void lateEventsAreIgnored();
    void noSpeechAndMicrophone();
    void errorsOfListening();
    void errorsOfAnUtteranceDoNotEndListening();
    void silenceAfterListenIsAnError();
    void aDaemonThatIsTooOldIsNotAskedToListen();
    void silenceIsNoSpeech();
    void reconnectsAfterAKill();
    void garbageIsLeftAndTriedAgain();
    void lastWordsAreTheReason();
    void anyValueInAnyFieldIsSurvived();
    void theExampleOfTheReadmeRuns();
};

void TestClient::backoffGrowsToFiveSeconds()
{
    Backoff backoff;
    QList<qint64> waits;
    for (int i = 0; i < 7; ++i)
        waits.append(backoff.next().count());
    QCOMPARE(waits, QList<qint64>({250, 500, 1000, 2000, 4000, 5000, 5000}));
    backoff.reset();
    QCOMPARE(backoff.next().count(), 250);
}

void TestClient::connectsAndLearnsOfTheDaemon()
{
    QVERIFY(startReady());
    QTRY_COMPARE_WITH_TIMEOUT(m_client->devices().size(), 2, Patience);
    QCOMPARE(m_client->modelName(), QStringLiteral("base"));
    QCOMPARE(m_client->serverVersion(), QStringLiteral("0.1.0"));
    QVERIFY(m_client->languages().contains(QLatin1String("ar")));
    QCOMPARE(m_client->devices().first().toMap().value(QStringLiteral("default")), QVariant(true));
    QCOMPARE(m_client->error(), QString());
    QCOMPARE(m_client->level(), 0.0);
}

void TestClient::saysThatNobodyIsThere()
{
    WhisperClient client;
    QSignalSpy failed(&client, &WhisperClient::failed);
    client.setSocketPath(m_socket);
    QTRY_COMPARE_WITH_TIMEOUT(client.errorCode(), QStringLiteral("not-running"), Patience);
    QCOMPARE(client.state(), WhisperClient::Disconnected);
    QVERIFY(!client.listen());
    QVERIFY(!client.sendAudio("ab"));
    QVERIFY(!client.transcribeFile(QUrl::fromLocalFile(sample("sample.wav"))));
    client.stop();
    client.cancel();
    // Three tries, and one word of it.
    QTest::qWait(1200);
    QCOMPARE(failed.size(), 1);
}

void TestClient::loadsUntilHello()
{
    QVERIFY(m_daemon->start());
    m_daemon->answers({});
    m_client = std::make_unique<WhisperClient>();
    m_client->setSocketPath(m_socket);
    QVERIFY(becomes(WhisperClient::Loading));
    QVERIFY(m_daemon->hears("hello"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("protocol")).toInt(), 1);
    QCOMPARE(m_client->loadingPercent(), -1);
    QVERIFY(!m_client->listen());
    m_daemon->act({{QStringLiteral("say"), QStringLiteral("model-loading")},
                   {QStringLiteral("data"), QJsonObject{{QStringLiteral("percent"), 40}}}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->loadingPercent(), 40, Patience);
    QCOMPARE(m_client->state(), WhisperClient::Loading);
    m_daemon->act({{QStringLiteral("say"), QStringLiteral("hello")}});
    QVERIFY(becomes(WhisperClient::Ready));
}

void TestClient::oneByteAtATime()
{
    QVERIFY(startReady());
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
    const QString id = m_daemon->lastData().value(QLatin1String("id")).toString();
    const QByteArray data = "{\"id\":\"" + id.toUtf8() + "\",\"stable\":\"Bj\xc3\xb6rn\",\"unstable\":\" a\"}";
    const QByteArray event
        = "{\"type\":\"partial\",\"data_length\":" + QByteArray::number(data.size()) + "}\n" + data;
    for (const char byte : event)
        m_daemon->act({{QStringLiteral("raw"), QString(QLatin1Char(byte))}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->stableText(), QString::fromUtf8("Björn"), Patience);
    QCOMPARE(m_client->unstableText(), QStringLiteral(" a"));
}

void TestClient::handsFree()
{
    QVERIFY(startReady());
    m_client->setLanguage(QStringLiteral("en"));
    m_client->setSensitivity(QStringLiteral("aggressive"));
    QSignalSpy finals(m_client.get(), &WhisperClient::finalReceived);
    QSignalSpy partials(m_client.get(), &WhisperClient::partialChanged);
    QVERIFY(m_client->listen(WhisperClient::HandsFree));
    QCOMPARE(m_client->state(), WhisperClient::Listening);
    QVERIFY(m_daemon->hears("listen"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("mode")).toString(), QStringLiteral("hands-free"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("language")).toString(), QStringLiteral("en"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("vad_sensitivity")).toString(),
             QStringLiteral("aggressive"));
    QTRY_COMPARE_WITH_TIMEOUT(m_client->device(), QStringLiteral("default"), Patience);

    m_daemon->say("level", {{QStringLiteral("rms"), -30.0}, {QStringLiteral("peak"), -15.0}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->level(), 0.5, Patience);
    QCOMPARE(m_client->peak(), 0.75);
    for (int utterance = 0; utterance < 2; ++utterance) {
        m_daemon->say("voice-started", {{QStringLiteral("timestamp"), 500}});
        QVERIFY(becomes(WhisperClient::Hearing));
        m_daemon->say("partial",
                      {{QStringLiteral("utterance"), utterance},
                       {QStringLiteral("stable"), QStringLiteral("turn on")},
                       {QStringLiteral("unstable"), QStringLiteral(" the")}});
        QTRY_COMPARE_WITH_TIMEOUT(m_client->stableText(), QStringLiteral("turn on"), Patience);
        QCOMPARE(m_client->unstableText(), QStringLiteral(" the"));
        m_daemon->say("voice-stopped", {{QStringLiteral("timestamp"), 1500}});
        QVERIFY(becomes(WhisperClient::Thinking));
        m_daemon->say("transcript",
                      {{QStringLiteral("utterance"), utterance},
                       {QStringLiteral("text"), QStringLiteral("turn on the light")},
                       {QStringLiteral("language"), QStringLiteral("en")},
                       {QStringLiteral("start"), 0.5}});
        QVERIFY(becomes(WhisperClient::Listening));
        QCOMPARE(finals.size(), utterance + 1);
        QCOMPARE(m_client->finalText(), QStringLiteral("turn on the light"));
        QCOMPARE(m_client->finalLanguage(), QStringLiteral("en"));
        QCOMPARE(m_client->stableText(), QString());
        QCOMPARE(finals.last().at(2).toMap().value(QStringLiteral("start")), QVariant(0.5));
    }
    QCOMPARE(partials.size(), 4);
    // What comes late of an utterance that is done is not shown.
    m_daemon->say("partial",
                  {{QStringLiteral("utterance"), 1}, {QStringLiteral("stable"), QStringLiteral("late")}});
    m_daemon->say("level", {{QStringLiteral("rms"), 0.0}, {QStringLiteral("peak"), 0.0}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->level(), 1.0, Patience);
    QCOMPARE(m_client->stableText(), QString());

    m_client->stop();
    QCOMPARE(m_client->level(), 0.0);
    QVERIFY(m_daemon->hears("listen-stop"));
    QVERIFY(becomes(WhisperClient::Ready));
}

/// As many words as ten minutes can have, and fields that a later daemon may add.
void TestClient::longAnswer()
{
    QVERIFY(startReady());
    QSignalSpy finals(m_client.get(), &WhisperClient::finalReceived);
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
    m_daemon->act({{QStringLiteral("say"), QStringLiteral("transcript")},
                   {QStringLiteral("data"),
                    QJsonObject{{QStringLiteral("id"), QStringLiteral("$id")},
                                {QStringLiteral("text"), QStringLiteral("all of it")},
                                {QStringLiteral("confidence"), 0.75},
                                {QStringLiteral("languages"), QJsonObject{{QStringLiteral("en"), 1.0}}}}},
                   {QStringLiteral("words"), 9000}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->finalText(), QStringLiteral("all of it"), Patience);
    QCOMPARE(m_client->state(), WhisperClient::Listening);
    QCOMPARE(finals.size(), 1);
    QCOMPARE(finals.last().at(2).toMap().value(QStringLiteral("confidence")), QVariant(0.75));
}

void TestClient::pushToTalk()
{
    QVERIFY(startReady());
    m_daemon->answers({QStringLiteral("listen")});
    QVERIFY(m_client->listen(WhisperClient::PushToTalk));
    QVERIFY(m_daemon->hears("listen"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("mode")).toString(), QStringLiteral("push-to-talk"));
    QVERIFY(!m_daemon->lastData().contains(QLatin1String("language")));
    m_daemon->say("voice-started");
    QVERIFY(becomes(WhisperClient::Hearing));
    m_client->stop();
    m_client->stop(); // a second release is none
    QCOMPARE(m_client->state(), WhisperClient::Thinking);
    QVERIFY(m_daemon->hears("listen-stop"));
    m_daemon->say("transcript", {{QStringLiteral("text"), QStringLiteral("yes")}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->finalText(), QStringLiteral("yes"), Patience);
    QCOMPARE(m_client->state(), WhisperClient::Thinking);
    m_daemon->say("listen-stopped", {{QStringLiteral("utterances"), 1}});
    QVERIFY(becomes(WhisperClient::Ready));
}

void TestClient::listeningIntoAnAnswerCancelsIt()
{
    QVERIFY(startReady());
    QVERIFY(m_client->listen(WhisperClient::PushToTalk));
    QVERIFY(m_daemon->hears("listen"));
    const QString first = m_daemon->lastData().value(QLatin1String("id")).toString();
    m_daemon->say("partial", {{QStringLiteral("stable"), QStringLiteral("old")}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->stableText(), QStringLiteral("old"), Patience);
    QVERIFY(m_client->listen(WhisperClient::PushToTalk));
    QCOMPARE(m_client->stableText(), QString());
    QVERIFY(m_daemon->hears("cancel"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("id")).toString(), first);
    QVERIFY(m_daemon->hears("listen"));
    QVERIFY(m_daemon->lastData().value(QLatin1String("id")).toString() != first);
}

void TestClient::lateEventsAreIgnored()
{
    QVERIFY(startReady());
    QSignalSpy finals(m_client.get(), &WhisperClient::finalReceived);
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
    m_client->cancel();
    QCOMPARE(m_client->state(), WhisperClient::Ready);
    QVERIFY(m_daemon->hears("cancel"));
    m_daemon->say("voice-started");
    m_daemon->say("transcript", {{QStringLiteral("text"), QStringLiteral("late")}});
    m_daemon->say("error", {{QStringLiteral("code"), QStringLiteral("internal")}});
    m_daemon->act({{QStringLiteral("say"), QStringLiteral("devices")}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->devices().size(), 0, Patience);
    QCOMPARE(finals.size(), 0);
    QCOMPARE(m_client->finalText(), QString());
    QCOMPARE(m_client->errorCode(), QString());
    QCOMPARE(m_client->state(), WhisperClient::Ready);
}

void TestClient::noSpeechAndMicrophone()
{
    QVERIFY(startReady());
    QSignalSpy none(m_client.get(), &WhisperClient::noSpeech);
    QSignalSpy lost(m_client.get(), &WhisperClient::micLost);
    QSignalSpy restored(m_client.get(), &WhisperClient::micRestored);
    QSignalSpy overrun(m_client.get(), &WhisperClient::overrun);
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
    m_daemon->say("voice-stopped");
    QVERIFY(becomes(WhisperClient::Thinking));
    m_daemon->say("no-speech",
                  {{QStringLiteral("utterance"), 0}, {QStringLiteral("reason"), QStringLiteral("silence")}});
    QVERIFY(becomes(WhisperClient::Listening));
    QCOMPARE(none.size(), 1);
    QCOMPARE(none.first().first().toString(), QStringLiteral("silence"));
    m_daemon->say("overrun", {{QStringLiteral("samples"), 1600}, {QStringLiteral("seconds"), 0.1}});
    m_daemon->say("mic-lost",
                  {{QStringLiteral("text"), QStringLiteral("gone")}, {QStringLiteral("retry_seconds"), 2}});
    QTRY_VERIFY_WITH_TIMEOUT(m_client->microphoneLost(), Patience);
    QCOMPARE(overrun.first().first().toDouble(), 0.1);
    QCOMPARE(lost.first().at(0).toString(), QStringLiteral("gone"));
    QCOMPARE(lost.first().at(1).toDouble(), 2.0);
    QCOMPARE(m_client->state(), WhisperClient::Listening);
    m_daemon->say("mic-restored");
    QTRY_VERIFY_WITH_TIMEOUT(!m_client->microphoneLost(), Patience);
    QCOMPARE(restored.size(), 1);
}

void TestClient::errorsOfListening()
{
    QVERIFY(startReady());
    m_daemon->answers({});
    QSignalSpy failed(m_client.get(), &WhisperClient::failed);
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
    m_daemon->say("error",
                  {{QStringLiteral("code"), QStringLiteral("no-microphone")},
                   {QStringLiteral("text"), QStringLiteral("no such device")},
                   {QStringLiteral("retry"), true}});
    QVERIFY(becomes(WhisperClient::Ready));
    QTRY_COMPARE_WITH_TIMEOUT(m_client->errorCode(), QStringLiteral("no-microphone"), Patience);
    QCOMPARE(m_client->error(), QStringLiteral("no such device"));
    QCOMPARE(failed.size(), 1);
    QCOMPARE(failed.first().at(2).toBool(), true);
    QVERIFY(m_client->listen());
    QCOMPARE(m_client->errorCode(), QString());
}

void TestClient::errorsOfAnUtteranceDoNotEndListening()
{
    QVERIFY(startReady());
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
    m_daemon->say("voice-stopped");
    QVERIFY(becomes(WhisperClient::Thinking));
    m_daemon->say("error", {{QStringLiteral("code"), QStringLiteral("internal")}});
    QVERIFY(becomes(WhisperClient::Listening));
    QTRY_COMPARE_WITH_TIMEOUT(m_client->errorCode(), QStringLiteral("internal"), Patience);
}

void TestClient::silenceAfterListenIsAnError()
{
    QVERIFY(startReady());
    m_daemon->answers({QStringLiteral("ping")});
    QVERIFY(m_client->listen());
    QVERIFY(becomes(WhisperClient::Ready));
    QCOMPARE(m_client->errorCode(), QStringLiteral("no-answer"));
}

void TestClient::aDaemonThatIsTooOldIsNotAskedToListen()
{
    QVERIFY(m_daemon->start());
    m_daemon->answers({});
    m_client = std::make_unique<WhisperClient>();
    m_client->setSocketPath(m_socket);
    QVERIFY(m_daemon->hears("hello"));
    m_daemon->act({{QStringLiteral("say"), QStringLiteral("hello")}});
    QVERIFY(becomes(WhisperClient::Ready));
    QVERIFY(!m_client->listen());
    QCOMPARE(m_client->errorCode(), QStringLiteral("not-supported"));
    QCOMPARE(m_client->state(), WhisperClient::Ready);
}

void TestClient::silenceIsNoSpeech()
{
    QVERIFY(startReady());
    QSignalSpy none(m_client.get(), &WhisperClient::noSpeech);
    QVERIFY(m_client->listen(WhisperClient::PushToTalk));
    m_client->stop();
    QVERIFY(m_daemon->hears("listen-stop"));
    QVERIFY(becomes(WhisperClient::Ready));
    QTRY_COMPARE_WITH_TIMEOUT(none.size(), 1, Patience);
    QCOMPARE(none.first().first().toString(), QStringLiteral("silence"));
}

void TestClient::reconnectsAfterAKill()
{
    QVERIFY(startReady());
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
    m_daemon->say("partial", {{QStringLiteral("stable"), QStringLiteral("half a")}});
    QTRY_COMPARE_WITH_TIMEOUT(m_client->stableText(), QStringLiteral("half a"), Patience);
    m_daemon->kill();
    QVERIFY(becomes(WhisperClient::Disconnected));
    QVERIFY(!m_client->errorCode().isEmpty());
    QCOMPARE(m_client->stableText(), QString());
    QVERIFY(m_daemon->start());
    QVERIFY(becomes(WhisperClient::Ready));
    QCOMPARE(m_client->errorCode(), QString());
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
}

void TestClient::garbageIsLeftAndTriedAgain()
{
    QVERIFY(startReady());
    QSignalSpy failed(m_client.get(), &WhisperClient::failed);
    m_daemon->act({{QStringLiteral("raw"), QStringLiteral("HTTP/1.1 400 Bad Request\n")}});
    QTRY_COMPARE_WITH_TIMEOUT(failed.size(), 1, Patience);
    QCOMPARE(failed.first().first().toString(), QStringLiteral("bad-wire"));
    QVERIFY(m_daemon->hears("disconnected"));
    QVERIFY(becomes(WhisperClient::Ready));
}

void TestClient::lastWordsAreTheReason()
{
    QVERIFY(startReady());
    QSignalSpy failed(m_client.get(), &WhisperClient::failed);
    m_daemon->act({{QStringLiteral("say"), QStringLiteral("error")},
                   {QStringLiteral("data"),
                    QJsonObject{{QStringLiteral("code"), QStringLiteral("shutting-down")},
                                {QStringLiteral("text"), QStringLiteral("stops")}}},
                   {QStringLiteral("close"), true}});
    QVERIFY(becomes(WhisperClient::Disconnected));
    QCOMPARE(failed.first().first().toString(), QStringLiteral("shutting-down"));
    QCOMPARE(failed.size(), 1);
    QVERIFY(becomes(WhisperClient::Ready));
}

void TestClient::anyValueInAnyFieldIsSurvived()
{
    QVERIFY(startReady());
    const QList<QJsonValue> values{QJsonValue::Null,    true,          -1,           1e300,
                                   QStringLiteral("x"), QJsonArray{1}, QJsonObject()};
    QVERIFY(m_client->listen());
    QVERIFY(m_daemon->hears("listen"));
    for (const char *type :
         {"info", "model-loading", "devices", "error", "listening", "voice-started", "voice-stopped", "partial",
          "transcript", "no-speech", "level", "overrun", "mic-lost", "mic-restored"}) {
        for (const QJsonValue &value : values) {
            QJsonObject data;
            for (const char *name :
                 {"asr", "percent", "devices", "text", "code", "retry", "device", "utterance", "stable",
                  "unstable", "language", "rms", "peak", "seconds", "retry_seconds", "reason"})
                data.insert(QLatin1String(name), value);
            m_daemon->say(type, data);
        }
    }
    m_daemon->say("listen-stopped");
    QVERIFY(becomes(WhisperClient::Ready));
    QVERIFY(m_client->level() >= 0 && m_client->level() <= 1);
}

void TestClient::theExampleOfTheReadmeRuns()
{
    const QString readme = QString::fromUtf8(contents(QStringLiteral(ROOT "/service/qt/README.md")));
    const QString code = readme.section(QStringLiteral("```qml\n"), 1, 1).section(QStringLiteral("```"), 0, 0);
    QVERIFY(code.count(QLatin1Char('\n')) <= 20);
    QVERIFY(m_daemon->start());
    qputenv("WHISPERD_SOCKET_PATH", m_socket.toUtf8());
    QQmlEngine engine;
    engine.addImportPath(qEnvironmentVariable("WHISPER_QML"));
    QQmlComponent component(&engine);
    component.setData(code.toUtf8(), QUrl(QStringLiteral("README.qml")));
    const std::unique_ptr<QObject> window(component.create());
    qunsetenv("WHISPERD_SOCKET_PATH");
    QVERIFY2(window, qPrintable(component.errorString()));
    auto *client = window->findChild<WhisperClient *>();
    QVERIFY(client);
    QTRY_COMPARE_WITH_TIMEOUT(client->state(), WhisperClient::Ready, Patience);
    QVERIFY(client->listen());
    QVERIFY(m_daemon->hears("listen"));
    m_daemon->say("transcript", {{QStringLiteral("text"), QStringLiteral("it works")}});
    QObject *label = window->findChild<QObject *>(QStringLiteral("words"));
    QVERIFY(label);
    QTRY_VERIFY_WITH_TIMEOUT(label->property("text").toString().contains(QLatin1String("it works")), Patience);
}

QTEST_MAIN(TestClient)
#include "tst_client.moc"
