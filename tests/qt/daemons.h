// Daemons as the tests need them: one that plays a part, and the real one.
#pragma once

#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QProcess>
#include <QSaveFile>
#include <QTemporaryDir>
#include <QTest>

/// Milliseconds for anything that comes in the end; the PCs are busy.
constexpr int Patience = 60'000;

/// tests/qt/scripted_daemon.py in a process of its own.
class ScriptedDaemon
{
public:
    explicit ScriptedDaemon(const QString &socket)
        : m_socket(socket)
    {
    }
    ~ScriptedDaemon() { kill(); }

    bool start()
    {
        m_process.setProcessChannelMode(QProcess::ForwardedErrorChannel);
        m_process.start(qEnvironmentVariable("PYTHON", QStringLiteral("python3")),
                        {QStringLiteral(ROOT "/tests/qt/scripted_daemon.py"), m_socket});
        return hears("listening-on");
    }
    void kill()
    {
        m_process.kill();
        m_process.waitForFinished(Patience);
        m_heard.clear();
    }
    void act(const QJsonObject &line)
    {
        m_process.write(QJsonDocument(line).toJson(QJsonDocument::Compact) + '\n');
    }
    /// Say an event of the request that was made last.
    void say(const char *type, QJsonObject data = {})
    {
        data.insert(QStringLiteral("id"), QStringLiteral("$id"));
        act({{QStringLiteral("say"), QLatin1String(type)}, {QStringLiteral("data"), data}});
    }
    void answers(const QStringList &types) { act({{QStringLiteral("auto"), QJsonArray::fromStringList(types)}}); }
    /// Wait until it is sent such an event; what came before it is passed over.
    bool hears(const char *type)
    {
        return QTest::qWaitFor([&] { return take(QLatin1String(type)); }, Patience);
    }
    /// The event that `hears` has waited for.
    QJsonObject last() const { return m_last; }
    QJsonObject lastData() const { return m_last.value(QLatin1String("data")).toObject(); }

private:
    bool take(QLatin1String type)
    {
        while (m_process.canReadLine())
            m_heard.append(QJsonDocument::fromJson(m_process.readLine()).object());
        while (!m_heard.isEmpty()) {
            m_last = m_heard.takeFirst();
            if (m_last.value(QLatin1String("type")).toString() == type)
                return true;
        }
        return false;
    }

    QString m_socket;
    QProcess m_process;
    QList<QJsonObject> m_heard;
    QJsonObject m_last;
};

/// Whoever speaks into the real daemon's microphone: test_qt.py, which looks for orders in the folder
/// META_WHISPER_SPEAKER. "play NAME" plays a file of tests/data, "plug" and "unplug" are what they say.
class Speaker
{
public:
    static bool available() { return qEnvironmentVariableIsSet("META_WHISPER_SPEAKER"); }

    static bool order(const QByteArray &what)
    {
        // Written whole: it is read as soon as it is there.
        QSaveFile file(qEnvironmentVariable("META_WHISPER_SPEAKER") + QStringLiteral("/order"));
        return file.open(QIODevice::WriteOnly) && file.write(what) == what.size() && file.commit();
    }
};

/// whisperd itself: META_WHISPER_DAEMON (a JSON list) is how test_qt.py starts it, on the socket that is put in
/// for SOCKET.
class RealDaemon
{
public:
    explicit RealDaemon(const QString &socket)
        : m_socket(socket)
    {
    }
    ~RealDaemon() { kill(); }

    static bool available() { return qEnvironmentVariableIsSet("META_WHISPER_DAEMON"); }

    void start()
    {
        QStringList command;
        const QJsonArray words = QJsonDocument::fromJson(qgetenv("META_WHISPER_DAEMON")).array();
        for (const QJsonValue &word : words)
            command.append(word.toString().replace(QLatin1String("SOCKET"), m_socket));
        m_process.setProcessChannelMode(QProcess::MergedChannels);
        m_process.start(command.takeFirst(), command);
    }
    /// As a crash or the kernel does it: without a word.
    void kill()
    {
        m_process.kill();
        m_process.waitForFinished(Patience);
    }
    QByteArray log() { return m_process.readAll(); }

private:
    QString m_socket;
    QProcess m_process;
};
