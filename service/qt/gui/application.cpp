#include "application.h"

#include <QCoreApplication>
#include <QQmlExtensionPlugin>
#include <QQuickWindow>

Q_IMPORT_QML_PLUGIN(WhisperGuiPlugin)

void Application::introduce()
{
    QCoreApplication::setOrganizationName(QStringLiteral("meta-whisper"));
    QCoreApplication::setApplicationName(QStringLiteral("whisper-gui"));
    QCoreApplication::setApplicationVersion(QStringLiteral("0.1.0"));
}

Application::Application(const Options &options)
{
    QVariantMap properties{{QStringLiteral("animate"), options.animate}};
    if (!options.socketPath.isEmpty())
        properties.insert(QStringLiteral("socketPath"), options.socketPath);
    if (options.size.isEmpty()) {
        properties.insert(QStringLiteral("visibility"), QWindow::FullScreen);
    } else {
        properties.insert(QStringLiteral("width"), options.size.width());
        properties.insert(QStringLiteral("height"), options.size.height());
    }
    m_engine.addImportPath(QStringLiteral(":/qt/qml"));
    m_engine.setInitialProperties(properties);
    m_engine.load(QUrl(QStringLiteral("qrc:/qt/qml/WhisperGui/Main.qml")));
}

QQuickWindow *Application::window() const
{
    const QObjectList roots = m_engine.rootObjects();
    return roots.isEmpty() ? nullptr : qobject_cast<QQuickWindow *>(roots.first());
}
