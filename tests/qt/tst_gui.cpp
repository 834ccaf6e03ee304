// The program, driven as a person drives it, beside a daemon that plays a part and the real one.
#include "gui_driver.h"
#include "wavreader.h"

#include <QGuiApplication>
#include <QSignalSpy>

using namespace Whisper;

class TestGui : public GuiDriver
{
    Q_OBJECT

private slots:
    void fingersHoldTheButton_data();
    void fingersHoldTheButton();
    void handsFreeIsTouchedOnce();
    void keysDoWhatFingersDo();
    void textsAreTranslatedAtOnce();
    void marksOfTextAreShownAsTheyAre();
    void aKilledDaemonComesBack();
    void realDaemonsWordsAppear();
    void realMicrophonesWordsAppear();
};

void TestGui::fingersHoldTheButton_data()
{
    QTest::addColumn<QSize>("size");
    QTest::newRow("800x480") << QSize(800, 480);
    QTest::newRow("1280x720") << QSize(1280, 720);
}

void TestGui::fingersHoldTheButton()
{
    QFETCH(QSize, size);
    QVERIFY(m_daemon->start());
    open(size);
    QVERIFY(ready());
    QTRY_COMPARE_WITH_TIMEOUT(textOf("status"), QStringLiteral("Ready"), Patience);
    QVERIFY(!textOf("hint").isEmpty());
    press("talk");
    QVERIFY(m_daemon->hears("listen"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("mode")).toString(), QStringLiteral("push-to-talk"));
    speak(QStringLiteral("Turn on"), QStringLiteral(" the air"));
    QTRY_COMPARE_WITH_TIMEOUT(textOf("status"), QStringLiteral("I hear you"), Patience);
    QVERIFY(textOf("words").startsWith(QLatin1String("Turn on<font")));
    QVERIFY(textOf("words").contains(QLatin1String("> the air</font>")));
    QTest::qWait(300); // a finger that stays
    release("talk");
    QVERIFY(m_daemon->hears("listen-stop"));
    QVERIFY(becomes(WhisperClient::Ready));

    // One that does not stay is told so.
    press("talk");
    release("talk");
    QVERIFY(m_daemon->hears("cancel"));
    QCOMPARE(textOf("remark"), QStringLiteral("Hold it while you speak"));
}

void TestGui::handsFreeIsTouchedOnce()
{
    QVERIFY(m_daemon->start());
    open();
    QVERIFY(ready());
    touch(QStringLiteral("segment-hands-free"));
    QVERIFY(preferences()->handsFree());
    touch(QStringLiteral("talk"));
    QVERIFY(m_daemon->hears("listen"));
    QCOMPARE(m_daemon->lastData().value(QLatin1String("mode")).toString(), QStringLiteral("hands-free"));
    m_daemon->say("voice-stopped");
    QVERIFY(becomes(WhisperClient::Thinking));
    say(QStringLiteral("Call home."), QStringLiteral("en"), 0);
    QVERIFY(becomes(WhisperClient::Listening));
    QCOMPARE(textOf("words"), QStringLiteral("Call home."));
    m_daemon->say("no-speech", {{QStringLiteral("reason"), QStringLiteral("silence")}});
    QTRY_COMPARE_WITH_TIMEOUT(textOf("remark"), QStringLiteral("I heard nothing"), Patience);
    touch(QStringLiteral("talk"));
    QVERIFY(m_daemon->hears("listen-stop"));
    QVERIFY(becomes(WhisperClient::Ready));
    touch(QStringLiteral("talk"));
    QVERIFY(m_daemon->hears("listen"));
    touch(QStringLiteral("cancel"));
    QVERIFY(m_daemon->hears("cancel"));
    QCOMPARE(client()->state(), WhisperClient::Ready);
}

void TestGui::keysDoWhatFingersDo()
{
    QVERIFY(m_daemon->start());
    open();
    QVERIFY(ready());
    QTest::keyPress(m_window, Qt::Key_Space);
    QVERIFY(m_daemon->hears("listen"));
    QTest::qWait(300);
    QTest::keyRelease(m_window, Qt::Key_Space);
    QVERIFY(m_daemon->hears("listen-stop"));
    QVERIFY(becomes(WhisperClient::Ready));

    QTest::keyClick(m_window, Qt::Key_H);
    QVERIFY(item(QStringLiteral("history")) && item(QStringLiteral("history"))->isVisible());
    QTest::keyClick(m_window, Qt::Key_Escape);
    QVERIFY(!item(QStringLiteral("history"))->isVisible());

    QTest::keyClick(m_window, Qt::Key_S);
    QQuickItem *topic = item(QStringLiteral("topic-3"));
    QVERIFY(topic && topic->isVisible());
    for (int i = 0; i < 20 && !topic->hasActiveFocus(); ++i)
        QTest::keyClick(m_window, Qt::Key_Tab);
    QVERIFY(topic->hasActiveFocus());
    QTest::keyClick(m_window, Qt::Key_Return);
    QQuickItem *light = item(QStringLiteral("theme-light"));
    QVERIFY(light);
    for (int i = 0; i < 20 && !light->hasActiveFocus(); ++i)
        QTest::keyClick(m_window, Qt::Key_Tab);
    QVERIFY(light->hasActiveFocus());
    QVERIFY(preferences()->dark());
    QTest::keyClick(m_window, Qt::Key_Space);
    QVERIFY(!preferences()->dark());
    QTest::keyClick(m_window, Qt::Key_Escape);
    QVERIFY(!topic->isVisible());

    // Escape ends what goes on, and the button that talks has the keys again.
    QTest::keyPress(m_window, Qt::Key_Return);
    QVERIFY(m_daemon->hears("listen"));
    QTest::keyClick(m_window, Qt::Key_Escape);
    QVERIFY(m_daemon->hears("cancel"));
    QTest::keyRelease(m_window, Qt::Key_Return);
    QCOMPARE(client()->state(), WhisperClient::Ready);
}

void TestGui::textsAreTranslatedAtOnce()
{
    QVERIFY(m_daemon->start());
    open();
    QVERIFY(ready());
    QCOMPARE(textOf("status"), QStringLiteral("Ready"));
    const double left = item(QStringLiteral("open-settings"))->mapToScene({0, 0}).x();
    touch(QStringLiteral("open-settings"));
    touch(QStringLiteral("topic-3"));
    touch(QStringLiteral("interface-ar"));
    QCOMPARE(QGuiApplication::layoutDirection(), Qt::RightToLeft);
    QVERIFY(textOf("status") != QStringLiteral("Ready"));
    // The other side of the window.
    QTRY_VERIFY(item(QStringLiteral("open-settings"))->mapToScene({0, 0}).x() < left / 2);
    QTest::qWait(100);
    touch(QStringLiteral("interface-de"));
    QCOMPARE(QGuiApplication::layoutDirection(), Qt::LeftToRight);
    QCOMPARE(textOf("status"), QStringLiteral("Bereit"));
    QTest::qWait(100);
    touch(QStringLiteral("interface-en"));
    QCOMPARE(textOf("status"), QStringLiteral("Ready"));
}

void TestGui::marksOfTextAreShownAsTheyAre()
{
    QVERIFY(m_daemon->start());
    open();
    QVERIFY(ready());
    QVERIFY(client()->listen());
    QVERIFY(m_daemon->hears("listen"));
    say(QStringLiteral("a < b & <b>c</b>"), QStringLiteral("en"), 0);
    QCOMPARE(textOf("words"), QStringLiteral("a &lt; b &amp; &lt;b&gt;c&lt;/b&gt;"));
}

void TestGui::aKilledDaemonComesBack()
{
    QVERIFY(m_daemon->start());
    open();
    QVERIFY(ready());
    press("talk");
    const QPoint finger = centre(item(QStringLiteral("talk")));
    QVERIFY(m_daemon->hears("listen"));
    m_daemon->kill();
    QVERIFY(becomes(WhisperClient::Disconnected));
    QVERIFY(!textOf("notice").isEmpty());
    QVERIFY(!item(QStringLiteral("talk"))->isEnabled());
    QTest::mouseRelease(m_window, Qt::LeftButton, {}, finger);
    QVERIFY(m_daemon->start());
    QVERIFY(becomes(WhisperClient::Ready));
    QCOMPARE(textOf("notice"), QString());
    press("talk");
    QVERIFY(m_daemon->hears("listen"));
    release("talk");
}

void TestGui::realDaemonsWordsAppear()
{
    if (!RealDaemon::available())
        QSKIP("META_WHISPER_DAEMON does not say how whisperd is started");
    RealDaemon daemon(m_socket);
    daemon.start();
    open();
    QVERIFY2(becomes(WhisperClient::Ready), daemon.log());
    preferences()->setSpeechLanguage(QStringLiteral("en"));

    QSignalSpy partials(client(), &WhisperClient::partialChanged);
    // The clip at the pace of speech, as from a microphone of the GUI's own: words come before it ends.
    const auto play = [&](const char *name) {
        WavReader clip(QStringLiteral(ROOT "/tests/data/") + QLatin1String(name));
        QVERIFY(clip.open());
        for (QByteArray samples = clip.read(3200); !samples.isEmpty(); samples = clip.read(3200)) {
            QVERIFY(client()->sendAudio(samples));
            QTest::qWait(100);
        }
        client()->stop();
        QVERIFY2(becomes(WhisperClient::Ready), daemon.log());
    };
    play("sample.wav");
    QTRY_VERIFY2_WITH_TIMEOUT(textOf("words").contains(QLatin1String("airport in this traffic")),
                              qPrintable(textOf("words") + client()->error()), Patience);
    QVERIFY(partials.size() > 2);

    daemon.kill();
    QVERIFY(becomes(WhisperClient::Disconnected));
    QVERIFY(!textOf("notice").isEmpty());
    daemon.start();
    QVERIFY2(becomes(WhisperClient::Ready), daemon.log());
    play("command.wav");
    QTRY_VERIFY_WITH_TIMEOUT(textOf("words").contains(QLatin1String("air conditioning")), Patience);
}

void TestGui::realMicrophonesWordsAppear()
{
    if (!RealDaemon::available() || !Speaker::available())
        QSKIP("META_WHISPER_SPEAKER does not say who speaks into the microphone");
    RealDaemon daemon(m_socket);
    daemon.start();
    open();
    QVERIFY2(becomes(WhisperClient::Ready), daemon.log());
    preferences()->setSpeechLanguage(QStringLiteral("en"));
    touch(QStringLiteral("segment-hands-free"));
    touch(QStringLiteral("talk"));
    QTRY_VERIFY2_WITH_TIMEOUT(!client()->device().isEmpty(), qPrintable(client()->error()), Patience);

    // Words, and the voice's loudness, while it is still being said.
    QSignalSpy finals(client(), &WhisperClient::finalReceived);
    double loudest = 0;
    connect(client(), &WhisperClient::levelChanged, this, [&] { loudest = qMax(loudest, client()->level()); });
    QVERIFY(Speaker::order("play sample.wav"));
    QVERIFY(becomes(WhisperClient::Hearing));
    QTRY_VERIFY_WITH_TIMEOUT(textOf("words").contains(QLatin1String("How long")) || !finals.isEmpty(), Patience);
    QVERIFY2(finals.isEmpty(), "nothing was shown before the end");
    QTRY_VERIFY_WITH_TIMEOUT(textOf("words").contains(QLatin1String("drive")) || !finals.isEmpty(), Patience);
    picture(QStringLiteral("real-daemon"));
    QTRY_COMPARE_WITH_TIMEOUT(finals.size(), 1, Patience);
    QVERIFY2(textOf("words").contains(QLatin1String("airport in this traffic")), qPrintable(textOf("words")));
    QVERIFY(loudest > 0.3);
    QVERIFY(becomes(WhisperClient::Listening));

    QVERIFY(Speaker::order("unplug"));
    QTRY_VERIFY_WITH_TIMEOUT(client()->microphoneLost(), Patience);
    QVERIFY(!textOf("banner").isEmpty());
    QVERIFY(Speaker::order("plug"));
    QTRY_VERIFY_WITH_TIMEOUT(!client()->microphoneLost(), Patience);
    QVERIFY(Speaker::order("play command.wav"));
    QTRY_VERIFY_WITH_TIMEOUT(textOf("words").contains(QLatin1String("air conditioning")), Patience);

    daemon.kill();
    QVERIFY(becomes(WhisperClient::Disconnected));
    daemon.start();
    QVERIFY2(becomes(WhisperClient::Ready), daemon.log());
    // Push to talk, and the answer to it.
    touch(QStringLiteral("segment-push-to-talk"));
    finals.clear();
    press("talk");
    QTRY_VERIFY2_WITH_TIMEOUT(!client()->device().isEmpty(), qPrintable(client()->error()), Patience);
    QVERIFY(Speaker::order("play command.wav"));
    QVERIFY(becomes(WhisperClient::Hearing));
    QTest::qWait(2500); // the clip is 2 s
    release("talk");
    QVERIFY(becomes(WhisperClient::Ready));
    QCOMPARE(finals.size(), 1);
    QVERIFY2(textOf("words").contains(QLatin1String("air conditioning")), qPrintable(textOf("words")));
}

QTEST_MAIN(TestGui)
#include "tst_gui.moc"
