#include "gui_driver.h"

#include <QDir>
#include <QHash>
#include <QImage>
#include <QLocale>
#include <QSet>
#include <QSettings>

#include <algorithm>
#include <cmath>

namespace {

// By the tree that is seen: items of a view are no QObject children of it.
QQuickItem *find(QQuickItem *in, const QString &name, bool visible)
{
    if (in->objectName() == name && (!visible || in->isVisible()))
        return in;
    const QList<QQuickItem *> children = in->childItems();
    for (QQuickItem *child : children) {
        if (QQuickItem *found = find(child, name, visible))
            return found;
    }
    return nullptr;
}

// The 256 colours that are there most: a third of the bytes, and the eye sees no difference.
QList<QRgb> palette(const QImage &image)
{
    QHash<QRgb, int> counts;
    for (int y = 0; y < image.height(); ++y) {
        for (int x = 0; x < image.width(); ++x)
            ++counts[image.pixel(x, y)];
    }
    QList<QRgb> colours = counts.keys();
    std::sort(colours.begin(), colours.end(), [&](QRgb a, QRgb b) {
        return counts.value(a) != counts.value(b) ? counts.value(a) > counts.value(b) : a < b;
    });
    return colours.mid(0, 256);
}

} // namespace

QQuickItem *GuiDriver::item(const QString &name)
{
    // Several pages may have one of a name: the one that is seen is meant.
    QQuickItem *seen = find(m_window->contentItem(), name, true);
    return seen ? seen : find(m_window->contentItem(), name, false);
}

void GuiDriver::initTestCase()
{
    Application::introduce();
    m_folder = std::make_unique<QTemporaryDir>();
    // The person's own preferences stay as they are.
    QSettings::setPath(QSettings::NativeFormat, QSettings::UserScope, m_folder->path());
    QLocale::setDefault(QLocale::c());
}

void GuiDriver::init()
{
    QSettings().clear();
    QSettings().setValue(QStringLiteral("interfaceLanguage"), QStringLiteral("en"));
    m_socket = m_folder->filePath(QStringLiteral("whisperd.sock"));
    m_daemon = std::make_unique<ScriptedDaemon>(m_socket);
}

void GuiDriver::cleanup()
{
    m_app.reset();
    m_daemon.reset();
}

void GuiDriver::open(const QSize &size)
{
    m_app = std::make_unique<Application>(Application::Options{m_socket, size, false});
    m_window = m_app->window();
    QVERIFY(m_window);
    m_preferencesType = qmlTypeId("WhisperGui", 1, 0, "Preferences");
    QVERIFY(m_preferencesType >= 0);
    QVERIFY(QTest::qWaitForWindowExposed(m_window));
    m_window->requestActivate();
    QVERIFY(QTest::qWaitForWindowActive(m_window));
}

void GuiDriver::picture(const QString &name)
{
    const QString folder = qEnvironmentVariable("WHISPER_SCREENSHOTS");
    QTest::qWait(60); // what was changed is laid out and drawn
    const QImage image = m_window->grabWindow();
    QCOMPARE(image.size(), m_window->size());
    // Not of one colour: something was drawn.
    QSet<QRgb> colours;
    for (int x = 0; x < image.width(); x += 7) {
        for (int y = 0; y < image.height(); y += 7)
            colours.insert(image.pixel(x, y));
    }
    QVERIFY2(colours.size() > 5, qPrintable(name));
    if (!folder.isEmpty()) {
        QVERIFY(QDir().mkpath(folder));
        const QImage small = image.convertToFormat(QImage::Format_Indexed8, palette(image));
        QVERIFY(small.save(folder + QLatin1Char('/') + name + QStringLiteral(".png"), "PNG", 0));
    }
}

void GuiDriver::speak(const QString &stable, const QString &unstable)
{
    m_daemon->say("voice-started");
    for (int i = 0; i < 26; ++i) {
        const double loud = -46 + 30 * std::abs(std::sin(i * 0.9) * std::cos(i * 0.23));
        m_daemon->say("level", {{QStringLiteral("rms"), loud}, {QStringLiteral("peak"), loud + 6}});
    }
    m_daemon->say("level", {{QStringLiteral("rms"), -18.0}, {QStringLiteral("peak"), -9.0}});
    m_daemon->say("partial",
                  {{QStringLiteral("utterance"), 1},
                   {QStringLiteral("stable"), stable},
                   {QStringLiteral("unstable"), unstable}});
    QTRY_COMPARE_WITH_TIMEOUT(client()->unstableText(), unstable, Patience);
}

void GuiDriver::say(const QString &text, const QString &language, int utterance)
{
    m_daemon->say("transcript",
                  {{QStringLiteral("utterance"), utterance},
                   {QStringLiteral("text"), text},
                   {QStringLiteral("language"), language}});
    QTRY_COMPARE_WITH_TIMEOUT(client()->finalText(), text, Patience);
}
