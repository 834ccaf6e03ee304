// The program's window as a test holds it: fingers and keys go in, words and pictures come out.
#pragma once

#include "application.h"
#include "daemons.h"
#include "preferences.h"
#include "whisperclient.h"

#include <QObject>
#include <QPoint>
#include <QQuickItem>
#include <QQuickWindow>
#include <QSize>
#include <QTest>

#include <memory>

using Whisper::WhisperClient;

/// Opens the program beside a daemon that plays a part. Each test has both anew.
class GuiDriver : public QObject
{
    Q_OBJECT

private slots:
    void initTestCase();
    void init();
    void cleanup();

protected:
    void open(const QSize &size = {800, 480});
    bool ready() { return becomes(WhisperClient::Ready) && m_daemon->hears("devices"); }
    bool becomes(WhisperClient::State state)
    {
        return QTest::qWaitFor([&] { return client()->state() == state; }, Patience);
    }
    WhisperClient *client() { return m_window->findChild<WhisperClient *>(QStringLiteral("client")); }
    QQuickItem *item(const QString &name);
    QString textOf(const char *name)
    {
        QQuickItem *found = item(QLatin1String(name));
        return found && found->isVisible() ? found->property("text").toString() : QString();
    }
    QPoint centre(QQuickItem *of) { return of->mapToScene(QPointF(of->width() / 2, of->height() / 2)).toPoint(); }
    void press(const char *name)
    {
        QTest::mousePress(m_window, Qt::LeftButton, {}, centre(item(QLatin1String(name))));
    }
    void release(const char *name)
    {
        QTest::mouseRelease(m_window, Qt::LeftButton, {}, centre(item(QLatin1String(name))));
    }
    void touch(const QString &name)
    {
        QQuickItem *found = item(name);
        QVERIFY2(found && found->isVisible() && found->isEnabled(), qPrintable(name));
        QTest::mouseClick(m_window, Qt::LeftButton, {}, centre(found));
    }
    Preferences *preferences() { return m_app->engine()->singletonInstance<Preferences *>(m_preferencesType); }
    void picture(const QString &name);
    void speak(const QString &stable, const QString &unstable);
    void say(const QString &text, const QString &language, int utterance);

    QString m_socket;
    int m_preferencesType = 0;
    std::unique_ptr<QTemporaryDir> m_folder;
    std::unique_ptr<ScriptedDaemon> m_daemon;
    std::unique_ptr<Application> m_app;
    QQuickWindow *m_window = nullptr;
};
