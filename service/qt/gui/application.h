// The program's window, and what it needs around it.
#pragma once

#include <QQmlApplicationEngine>
#include <QSize>

QT_BEGIN_NAMESPACE
class QQuickWindow;
QT_END_NAMESPACE

/// Loads the GUI.
class Application
{
public:
    struct Options {
        QString socketPath; ///< empty: WhisperClient's own
        QSize size; ///< empty: the whole screen
        bool animate = true; ///< false: pictures of it are the same each time
    };

    /// Name and organisation, under which preferences are kept. Before anything else.
    static void introduce();

    explicit Application(const Options &options);

    /// Null if the GUI could not be loaded; Qt has then said why.
    QQuickWindow *window() const;
    QQmlEngine *engine() { return &m_engine; }

private:
    QQmlApplicationEngine m_engine;
};
