// What a GUI knows of the daemon: the QML type WhisperClient. README.md in the folder above has an example.
#pragma once

#include "wavreader.h"

#include <QByteArray>
#include <QJsonObject>
#include <QObject>
#include <QStringList>
#include <QTimer>
#include <QUrl>
#include <QVariantList>
#include <QtQml/qqmlregistration.h>

#include <memory>

#if defined(whisperclient_EXPORTS)
#define WHISPER_EXPORT Q_DECL_EXPORT
#else
#define WHISPER_EXPORT Q_DECL_IMPORT
#endif

namespace Whisper {

class Connection;

/// Offline speech recognition, by way of whisperd's socket.
///
/// It connects by itself and again when the connection breaks (after 0.25 s, then later, at most 5 s). No call
/// waits: each only says what is wanted, and properties and signals tell what became of it. Of one thread, as any
/// QObject.
class WHISPER_EXPORT WhisperClient : public QObject
{
    Q_OBJECT
    QML_ELEMENT

    Q_PROPERTY(State state READ state NOTIFY stateChanged)
    /// The daemon's socket; another one is connected to at once.
    Q_PROPERTY(QString socketPath READ socketPath WRITE setSocketPath NOTIFY socketPathChanged)
    /// Of the utterance that is being said: what does not change any more, and what may. Shown text is both,
    /// joined.
    Q_PROPERTY(QString stableText READ stableText NOTIFY partialChanged)
    Q_PROPERTY(QString unstableText READ unstableText NOTIFY partialChanged)
    /// The last utterance that is done, and the language it was in.
    Q_PROPERTY(QString finalText READ finalText NOTIFY finalTextChanged)
    Q_PROPERTY(QString finalLanguage READ finalLanguage NOTIFY finalTextChanged)
    /// Loudness, 0 (-60 dBFS and below) to 1 (full scale): of the mean, and of the peak.
    Q_PROPERTY(double level READ level NOTIFY levelChanged)
    Q_PROPERTY(double peak READ peak NOTIFY levelChanged)
    /// What is asked for: a code, "auto", or empty for the daemon's default.
    Q_PROPERTY(QString language READ language WRITE setLanguage NOTIFY languageChanged)
    /// How soon an utterance is over: "relaxed", "default" or "aggressive".
    Q_PROPERTY(QString sensitivity READ sensitivity WRITE setSensitivity NOTIFY sensitivityChanged)
    /// "transcribe", or "translate" into English.
    Q_PROPERTY(QString task READ task WRITE setTask NOTIFY taskChanged)
    /// What went wrong last, for a person (in English) and as a code of docs/protocol.md; empty if nothing is.
    /// Codes of this side: not-running, permission-denied, connection-lost, no-answer, not-supported, bad-wire,
    /// bad-file, overrun.
    Q_PROPERTY(QString error READ error NOTIFY errorChanged)
    Q_PROPERTY(QString errorCode READ errorCode NOTIFY errorChanged)
    Q_PROPERTY(QString modelName READ modelName NOTIFY infoChanged)
    Q_PROPERTY(QString modelDescription READ modelDescription NOTIFY infoChanged)
    Q_PROPERTY(QString serverVersion READ serverVersion NOTIFY infoChanged)
    /// Codes that `language` may have.
    Q_PROPERTY(QStringList languages READ languages NOTIFY infoChanged)
    /// Microphones of the daemon's machine: maps of name, description and default (bool).
    Q_PROPERTY(QVariantList devices READ devices NOTIFY devicesChanged)
    /// The microphone that is listened to.
    Q_PROPERTY(QString device READ device NOTIFY deviceChanged)
    Q_PROPERTY(bool microphoneLost READ microphoneLost NOTIFY microphoneLostChanged)
    /// Percent of the model that is loaded while the state is Loading; -1 if the daemon does not say.
    Q_PROPERTY(int loadingPercent READ loadingPercent NOTIFY loadingPercentChanged)

public:
    enum State {
        Disconnected, ///< nobody there; it is tried again and again
        Loading, ///< there, and not ready yet
        Ready, ///< waits for you
        Listening, ///< hears silence
        Hearing, ///< hears a voice
        Thinking, ///< the voice has stopped, or a clip was sent: words are to come
    };
    Q_ENUM(State)

    enum Mode {
        PushToTalk, ///< one utterance, from listen() to stop()
        HandsFree, ///< one utterance after the other, until stop()
    };
    Q_ENUM(Mode)

    explicit WhisperClient(QObject *parent = nullptr);
    ~WhisperClient() override;

    /// Listen to the daemon's microphone. What is still going on is cancelled: speak into an answer at any time.
    Q_INVOKABLE bool listen(Whisper::WhisperClient::Mode mode = HandsFree);
    /// End listening, or the audio of sendAudio(); what has been said is still finished.
    Q_INVOKABLE void stop();
    /// End everything at once, and forget what was heard.
    Q_INVOKABLE void cancel();
    /// Send samples of a microphone of your own, as they come; the first ones begin, stop() ends. `format` has
    /// rate (Hz), width (bytes) and channels; 16000, 2 and 1 where it has not. False: not taken, the daemon is not
    /// ready or does not keep up (error "overrun").
    Q_INVOKABLE bool sendAudio(const QByteArray &pcm, const QVariantMap &format = {});
    /// Transcribe a WAV file on this machine; finalReceived() or failed() tells the result.
    Q_INVOKABLE bool transcribeFile(const QUrl &url);
    Q_INVOKABLE void clearError();
    /// Ask for the microphones again; devicesChanged() tells.
    Q_INVOKABLE void refreshDevices();
    /// Connect again now, without waiting for the next try.
    Q_INVOKABLE void reconnect();

    State state() const { return m_state; }
    QString socketPath() const { return m_socketPath; }
    QString stableText() const { return m_stable; }
    QString unstableText() const { return m_unstable; }
    QString finalText() const { return m_final; }
    QString finalLanguage() const { return m_finalLanguage; }
    double level() const { return m_level; }
    double peak() const { return m_peak; }
    QString language() const { return m_language; }
    QString sensitivity() const { return m_sensitivity; }
    QString task() const { return m_task; }
    QString error() const { return m_error; }
    QString errorCode() const { return m_errorCode; }
    QString modelName() const { return m_modelName; }
    QString modelDescription() const { return m_modelDescription; }
    QString serverVersion() const { return m_serverVersion; }
    QStringList languages() const { return m_languages; }
    QVariantList devices() const { return m_devices; }
    QString device() const { return m_device; }
    bool microphoneLost() const { return m_microphoneLost; }
    int loadingPercent() const { return m_loadingPercent; }

    void setSocketPath(const QString &path);
    void setLanguage(const QString &language);
    void setSensitivity(const QString &sensitivity);
    void setTask(const QString &task);

signals:
    /// An utterance or a file is done. `details` is the daemon's whole answer: segments, times, durations.
    void finalReceived(const QString &text, const QString &language, const QVariantMap &details);
    /// There was a sound and no words: "no-voice", "silence" or "doubtful".
    void noSpeech(const QString &reason);
    /// The microphone is gone; the daemon goes on trying, and listening goes on when it is back.
    void micLost(const QString &text, double retrySeconds);
    void micRestored();
    /// Audio was lost: the daemon's machine was too slow, or this one sent faster than the daemon takes.
    void overrun(double seconds);
    /// Also told by error and errorCode; `retry`: the same can succeed later.
    void failed(const QString &code, const QString &text, bool retry);

    void stateChanged();
    void socketPathChanged();
    void partialChanged();
    void finalTextChanged();
    void levelChanged();
    void languageChanged();
    void sensitivityChanged();
    void taskChanged();
    void errorChanged();
    void infoChanged();
    void devicesChanged();
    void deviceChanged();
    void microphoneLostChanged();
    void loadingPercentChanged();

private:
    /// What is being asked of the daemon, at most one at a time.
    struct Request {
        enum Kind { None, Microphone, Pushed, File };
        Kind kind = None;
        QString id;
        bool live = false; // the daemon follows it: `listen-stopped` ends it
        bool heard = false; // something of what it follows has come
        bool stopping = false;
        bool speaking = false;
        bool thinking = false;
        bool answered = false; // something was said of what was heard
        qint64 lastFinal = -1; // number of the last utterance that is done
    };
    using Handler = void (WhisperClient::*)(const QJsonObject &);

    void onConnected();
    void onReady();
    void onReceived(const QString &type, const QJsonObject &data);
    void onLost(const QString &code, const QString &text);
    void pump();

    void onInfo(const QJsonObject &data);
    void onModelLoading(const QJsonObject &data);
    void onDevices(const QJsonObject &data);
    void onListening(const QJsonObject &data);
    void onVoiceStarted(const QJsonObject &data);
    void onVoiceStopped(const QJsonObject &data);
    void onPartial(const QJsonObject &data);
    void onTranscript(const QJsonObject &data);
    void onNoSpeech(const QJsonObject &data);
    void onLevel(const QJsonObject &data);
    void onOverrun(const QJsonObject &data);
    void onMicLost(const QJsonObject &data);
    void onMicRestored(const QJsonObject &data);
    void onListenStopped(const QJsonObject &data);
    void onError(const QJsonObject &data);

    bool isReady() const;
    bool daemonCan(const char *feature) const;
    void begin(Request::Kind kind);
    void endUtterance(const QJsonObject &data);
    void endRequest();
    QJsonObject wish(Request::Kind kind) const;
    bool sendChunk(const QByteArray &samples);
    bool say(const char *type, const QJsonObject &data = {});
    QJsonObject formatData() const;
    qsizetype chunkBytes() const;
    void setState(State state);
    void updateState();
    void setPartial(const QString &stable, const QString &unstable);
    void setLevel(double level, double peak);
    void setError(const QString &code, const QString &text);
    void fail(const QString &code, const QString &text, bool retry = false);
    void setMicrophoneLost(bool lost);

    std::unique_ptr<Connection> m_connection;
    std::unique_ptr<WavReader> m_file;
    Request m_request;
    QTimer m_patience; // for the answer to `listen`
    quint64 m_sequence = 0;
    PcmFormat m_format;
    State m_state = Disconnected;
    QString m_socketPath;
    QString m_stable;
    QString m_unstable;
    QString m_final;
    QString m_finalLanguage;
    double m_level = 0;
    double m_peak = 0;
    QString m_language;
    QString m_sensitivity = QStringLiteral("default");
    QString m_task = QStringLiteral("transcribe");
    QString m_error;
    QString m_errorCode;
    QString m_modelName;
    QString m_modelDescription;
    QString m_serverVersion;
    QStringList m_languages;
    QVariantList m_devices;
    QString m_device;
    bool m_microphoneLost = false;
    int m_loadingPercent = -1;
};

} // namespace Whisper
