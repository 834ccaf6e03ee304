// A WhisperClient beside a daemon that plays a part, as the tests of it hold them.
#pragma once

#include "daemons.h"
#include "whisperclient.h"

#include <QFile>
#include <QObject>
#include <QSignalSpy>
#include <QTest>

#include <memory>

using Whisper::WhisperClient;

inline QByteArray contents(const QString &path)
{
    QFile file(path);
    return file.open(QIODevice::ReadOnly) ? file.readAll() : QByteArray();
}

inline QString sample(const char *name)
{
    return QStringLiteral(ROOT "/tests/data/") + QLatin1String(name);
}

/// Each test has both anew.
class ClientDriver : public QObject
{
    Q_OBJECT

private slots:
    void init()
    {
        m_folder = std::make_unique<QTemporaryDir>();
        m_socket = m_folder->filePath(QStringLiteral("whisperd.sock"));
        m_daemon = std::make_unique<ScriptedDaemon>(m_socket);
    }
    void cleanup()
    {
        m_client.reset();
        m_daemon.reset();
    }

protected:
    bool becomes(WhisperClient::State state)
    {
        return QTest::qWaitFor([&] { return m_client->state() == state; }, Patience);
    }
    bool startReady()
    {
        if (!m_daemon->start())
            return false;
        m_client = std::make_unique<WhisperClient>();
        m_client->setSocketPath(m_socket);
        return becomes(WhisperClient::Ready) && m_daemon->hears("devices");
    }
    QString m_socket;
    std::unique_ptr<QTemporaryDir> m_folder;
    std::unique_ptr<ScriptedDaemon> m_daemon;
    std::unique_ptr<WhisperClient> m_client;
};
