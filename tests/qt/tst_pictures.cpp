// Pictures of the program in every state, and that what is on them can be touched.
//
// They are written to WHISPER_SCREENSHOTS (docs/screenshots, when they are to be renewed).
#include "gui_driver.h"

#include <QSettings>

namespace {

void collect(QQuickItem *in, QList<QQuickItem *> &buttons)
{
    const QList<QQuickItem *> children = in->childItems();
    for (QQuickItem *child : children) {
        if (!child->isVisible())
            continue;
        if (child->inherits("QQuickAbstractButton") && child->isEnabled())
            buttons.append(child);
        collect(child, buttons);
    }
}

const QString Arabic = QString::fromUtf8("شغّل مكيّف الهواء");

} // namespace

class TestPictures : public GuiDriver
{
    Q_OBJECT

private slots:
    void statesHavePictures_data();
    void statesHavePictures();
    void pagesHavePictures_data();
    void pagesHavePictures();
    void targetsAreLargeEnoughAndInsideTheWindow_data();
    void targetsAreLargeEnoughAndInsideTheWindow();
};

void TestPictures::statesHavePictures_data()
{
    QTest::addColumn<QString>("state");
    QTest::addColumn<QSize>("size");
    QTest::addColumn<bool>("dark");
    QTest::addColumn<QString>("language");
    const QSize small(800, 480);
    const QSize large(1280, 720);
    const QString en = QStringLiteral("en");
    const auto row = [](const char *name, const char *state, QSize size, bool dark, const QString &language) {
        QTest::newRow(name) << QString::fromLatin1(state) << size << dark << language;
    };
    row("disconnected", "disconnected", small, true, en);
    row("loading", "loading", small, true, en);
    row("ready", "ready", small, true, en);
    row("listening", "listening", small, true, en);
    row("hearing", "hearing", small, true, en);
    row("hearing-1280x720", "hearing", large, true, en);
    row("hearing-light", "hearing", small, false, en);
    row("hearing-german", "hearing", small, true, QStringLiteral("de"));
    row("hearing-arabic", "hearing", small, true, QStringLiteral("ar"));
    row("hearing-arabic-1280x720", "hearing", large, false, QStringLiteral("ar"));
    row("thinking", "thinking", small, true, en);
    row("final", "final", small, true, en);
    row("final-light-1280x720", "final", large, false, en);
    row("no-speech", "no-speech", small, true, en);
    row("error", "error", small, true, en);
    row("error-arabic", "error", small, true, QStringLiteral("ar"));
    row("microphone-lost", "microphone-lost", small, true, en);
    row("reconnecting-german", "disconnected", small, false, QStringLiteral("de"));
}

void TestPictures::statesHavePictures()
{
    QFETCH(QString, state);
    QFETCH(QSize, size);
    QFETCH(bool, dark);
    QFETCH(QString, language);
    const QString name = QString::fromLatin1(QTest::currentDataTag());
    QSettings().setValue(QStringLiteral("interfaceLanguage"), language);
    QSettings().setValue(QStringLiteral("dark"), dark);
    QSettings().setValue(QStringLiteral("handsFree"), true);
    if (state == QLatin1String("disconnected")) {
        open(size);
        QTRY_COMPARE_WITH_TIMEOUT(client()->errorCode(), QStringLiteral("not-running"), Patience);
        QVERIFY(!textOf("notice").isEmpty());
        return picture(name);
    }
    QVERIFY(m_daemon->start());
    if (state == QLatin1String("loading")) {
        m_daemon->answers({});
        open(size);
        QVERIFY(m_daemon->hears("hello"));
        m_daemon->act({{QStringLiteral("say"), QStringLiteral("model-loading")},
                       {QStringLiteral("data"), QJsonObject{{QStringLiteral("percent"), 65}}}});
        QTRY_COMPARE_WITH_TIMEOUT(client()->loadingPercent(), 65, Patience);
        return picture(name);
    }
    open(size);
    QVERIFY(ready());
    if (state == QLatin1String("ready"))
        return picture(name);
    if (state == QLatin1String("error"))
        m_daemon->answers({});
    QVERIFY(client()->listen());
    QVERIFY(m_daemon->hears("listen"));
    if (state == QLatin1String("error")) {
        m_daemon->say("error", {{QStringLiteral("code"), QStringLiteral("no-microphone")}});
        QVERIFY(becomes(WhisperClient::Ready));
        QTRY_VERIFY_WITH_TIMEOUT(!textOf("banner").isEmpty(), Patience);
        return picture(name);
    }
    if (state == QLatin1String("listening")) {
        for (int i = 0; i < 26; ++i)
            m_daemon->say("level", {{QStringLiteral("rms"), -57 + i % 3}, {QStringLiteral("peak"), -50}});
        QTRY_VERIFY_WITH_TIMEOUT(client()->level() > 0, Patience);
        return picture(name);
    }
    const bool arabic = language == QLatin1String("ar");
    const bool german = language == QLatin1String("de");
    say(arabic       ? QString::fromUtf8("كم يستغرق الطريق إلى المطار؟")
            : german ? QString::fromUtf8("Wie lange dauert es bis zum Flughafen?")
                     : QStringLiteral("How long will it take to drive to the airport in this traffic?"),
        language, 0);
    if (state == QLatin1String("no-speech")) {
        m_daemon->say("no-speech", {{QStringLiteral("reason"), QStringLiteral("silence")}});
        QTRY_VERIFY_WITH_TIMEOUT(textOf("remark").contains(QLatin1String("nothing")), Patience);
        return picture(name);
    }
    if (arabic)
        speak(Arabic, QString::fromUtf8(" إلى عشرين درجة"));
    else if (german)
        speak(QString::fromUtf8("Stell die Heizung auf"), QString::fromUtf8(" zwanzig Grad für"));
    else
        speak(QStringLiteral("Turn on the air conditioning"), QStringLiteral(" and set it to twenty"));
    if (state == QLatin1String("hearing"))
        return picture(name);
    if (state == QLatin1String("microphone-lost")) {
        m_daemon->say("voice-stopped");
        say(QStringLiteral("Turn on the air conditioning."), language, 1);
        m_daemon->say("mic-lost", {{QStringLiteral("text"), QStringLiteral("gone")}});
        QTRY_VERIFY_WITH_TIMEOUT(client()->microphoneLost(), Patience);
        return picture(name);
    }
    m_daemon->say("voice-stopped");
    QVERIFY(becomes(WhisperClient::Thinking));
    if (state == QLatin1String("thinking"))
        return picture(name);
    say(QStringLiteral("Turn on the air conditioning and set it to twenty degrees."), language, 1);
    m_daemon->say("listen-stopped");
    QVERIFY(becomes(WhisperClient::Ready));
    picture(name);
}

void TestPictures::pagesHavePictures_data()
{
    QTest::addColumn<int>("topic");
    QTest::addColumn<bool>("dark");
    QTest::addColumn<QString>("language");
    const QString en = QStringLiteral("en");
    QTest::newRow("history") << -1 << true << en;
    QTest::newRow("history-arabic") << -1 << true << QStringLiteral("ar");
    QTest::newRow("settings-language") << 0 << true << en;
    QTest::newRow("settings-listening") << 1 << true << en;
    QTest::newRow("settings-microphone") << 2 << true << en;
    QTest::newRow("settings-display") << 3 << false << en;
    QTest::newRow("settings-about") << 4 << true << en;
    QTest::newRow("settings-listening-german") << 1 << false << QStringLiteral("de");
    QTest::newRow("settings-microphone-arabic") << 2 << true << QStringLiteral("ar");
}

void TestPictures::pagesHavePictures()
{
    QFETCH(int, topic);
    QFETCH(bool, dark);
    QFETCH(QString, language);
    QSettings().setValue(QStringLiteral("interfaceLanguage"), language);
    QSettings().setValue(QStringLiteral("dark"), dark);
    QVERIFY(m_daemon->start());
    open();
    QVERIFY(ready());
    QTRY_COMPARE_WITH_TIMEOUT(client()->devices().size(), 2, Patience);
    if (topic < 0) {
        touch(QStringLiteral("open-history"));
        QVERIFY(!textOf("notice").isEmpty());
        touch(QStringLiteral("close-sheet"));
        QVERIFY(client()->listen());
        QVERIFY(m_daemon->hears("listen"));
        say(QStringLiteral("Turn on the air conditioning."), QStringLiteral("en"), 0);
        say(QString::fromUtf8(
                "Wie lange dauert es bis zum Flughafen bei diesem Verkehr, und gibt es einen Weg, der "
                "schneller ist?"),
            QStringLiteral("de"), 1);
        say(Arabic, QStringLiteral("ar"), 2);
        touch(QStringLiteral("open-history"));
        QQuickItem *list = item(QStringLiteral("history"));
        QCOMPARE(list->property("count").toInt(), 3);
        picture(QString::fromLatin1(QTest::currentDataTag()));
        touch(QStringLiteral("clear-history"));
        QCOMPARE(list->property("count").toInt(), 0);
        return;
    }
    touch(QStringLiteral("open-settings"));
    touch(QStringLiteral("topic-%1").arg(topic));
    picture(QString::fromLatin1(QTest::currentDataTag()));
    if (topic == 0) {
        touch(QStringLiteral("language-en"));
        QCOMPARE(client()->language(), QStringLiteral("en"));
    } else if (topic == 1) {
        touch(QStringLiteral("sensitivity-aggressive"));
        QCOMPARE(client()->sensitivity(), QStringLiteral("aggressive"));
    }
}

void TestPictures::targetsAreLargeEnoughAndInsideTheWindow_data()
{
    QTest::addColumn<QSize>("size");
    QTest::addColumn<QString>("language");
    for (const QSize &size : {QSize(800, 480), QSize(1280, 720)}) {
        for (const char *language : {"en", "de", "ar"})
            QTest::newRow(qPrintable(QStringLiteral("%1 %2").arg(size.width()).arg(QLatin1String(language))))
                << size << QString::fromLatin1(language);
    }
}

void TestPictures::targetsAreLargeEnoughAndInsideTheWindow()
{
    QFETCH(QSize, size);
    QFETCH(QString, language);
    QSettings().setValue(QStringLiteral("interfaceLanguage"), language);
    QVERIFY(m_daemon->start());
    open(size);
    QVERIFY(ready());
    QVERIFY(client()->listen());
    const auto check = [&](const char *where) {
        QTest::qWait(60);
        QList<QQuickItem *> buttons;
        collect(m_window->contentItem(), buttons);
        QVERIFY(buttons.size() >= 5);
        const QRectF inside(QPointF(), QSizeF(m_window->size()));
        QList<QRectF> places;
        for (QQuickItem *button : std::as_const(buttons)) {
            const QRectF place = button->mapRectToScene(button->boundingRect());
            const QByteArray what = QByteArray(where) + ": " + button->property("text").toString().toUtf8();
            QVERIFY2(place.height() >= 48 && place.width() >= 48, what);
            // Lists scroll; nothing else leaves the window or lies over another.
            if (!button->objectName().startsWith(QLatin1String("language-")))
                QVERIFY2(inside.contains(place), what);
            for (const QRectF &other : std::as_const(places))
                QVERIFY2(!other.adjusted(1, 1, -1, -1).intersects(place), what);
            places.append(place);
        }
    };
    check("main");
    touch(QStringLiteral("cancel"));
    touch(QStringLiteral("open-settings"));
    for (int topic = 1; topic < 5; ++topic) {
        touch(QStringLiteral("topic-%1").arg(topic));
        // What is behind a sheet cannot be touched, and is not counted.
        QTest::qWait(60);
        QQuickItem *row = item(QStringLiteral("topic-%1").arg(topic));
        QVERIFY(row->height() >= 48 && row->width() >= 48);
    }
}

QTEST_MAIN(TestPictures)
#include "tst_pictures.moc"
