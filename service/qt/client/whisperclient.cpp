#include "whisperclient.h"

#include "connection.h"

#include <QHash>
#include <QJsonArray>
#include <QQmlFile>

namespace Whisper {

namespace {

constexpr std::chrono::seconds ListenTimeout{8};
// Half of the daemon's default limit: one second of audio.
constexpr qsizetype ChunkBytes = 32 * 1024;
constexpr qint64 FileAheadBytes = 4 * ChunkBytes;

QString text(const QJsonObject &data, const char *name)
{
    return data.value(QLatin1String(name)).toString();
}

} // namespace

WhisperClient::WhisperClient(QObject *parent)
    : QObject(parent)
    , m_connection(std::make_unique<Connection>())
    , m_socketPath(qEnvironmentVariable("WHISPERD_SOCKET_PATH", QStringLiteral("/run/whisperd/whisperd.sock")))
{
    m_patience.setSingleShot(true);
    m_patience.setInterval(ListenTimeout);
    connect(&m_patience, &QTimer::timeout, this, [this] {
        cancel();
        fail(QStringLiteral("no-answer"), QStringLiteral("whisperd does not open its microphone"), true);
    });
    connect(m_connection.get(), &Connection::connected, this, &WhisperClient::onConnected);
    connect(m_connection.get(), &Connection::ready, this, &WhisperClient::onReady);
    connect(m_connection.get(), &Connection::received, this, &WhisperClient::onReceived);
    connect(m_connection.get(), &Connection::lost, this, &WhisperClient::onLost);
    connect(m_connection.get(), &Connection::written, this, &WhisperClient::pump);
    m_connection->open(m_socketPath);
}

WhisperClient::~WhisperClient() = default;

// --- what a GUI asks for ----------------------------------------------------------------------------------------

bool WhisperClient::listen(Mode mode)
{
    if (!isReady())
        return false;
    cancel();
    clearError();
    if (!daemonCan("listen")) {
        fail(QStringLiteral("not-supported"), QStringLiteral("this whisperd is too old to listen"));
        return false;
    }
    begin(Request::Microphone);
    QJsonObject data = wish(Request::Microphone);
    data.insert(QStringLiteral("mode"),
                mode == PushToTalk ? QStringLiteral("push-to-talk") : QStringLiteral("hands-free"));
    if (!say("listen", data))
        return false;
    m_patience.start();
    updateState();
    return true;
}

void WhisperClient::stop()
{
    if (m_request.kind == Request::None || m_request.kind == Request::File || m_request.stopping)
        return;
    m_request.stopping = true;
    const bool pushed = m_request.kind == Request::Pushed;
    // audio-stop carries no id: it ends the clip that this connection has begun.
    if (!(pushed ? say("audio-stop") : say("listen-stop", {{QStringLiteral("id"), m_request.id}})))
        return;
    setLevel(0, 0);
    updateState();
}

void WhisperClient::cancel()
{
    if (m_request.kind == Request::None)
        return;
    // A clip that is half sent ends first, so that what is sent next is not taken for its samples.
    const QString id = m_request.id;
    const bool unfinished = m_file || (m_request.kind == Request::Pushed && !m_request.stopping);
    endRequest();
    if (!unfinished || say("audio-stop"))
        say("cancel", {{QStringLiteral("id"), id}});
}

bool WhisperClient::sendAudio(const QByteArray &pcm, const QVariantMap &format)
{
    if (!isReady() || m_request.kind == Request::File || m_request.stopping)
        return false;
    if (m_request.kind != Request::Pushed) {
        const auto number = [&](const char *name, int otherwise) {
            return format.value(QLatin1String(name), otherwise).toInt();
        };
        const PcmFormat wanted{number("rate", 16000), number("width", 2), number("channels", 1)};
        if (!wanted.isSound()) {
            fail(QStringLiteral("bad-format"), QStringLiteral("samples of a format that is not supported"));
            return false;
        }
        cancel();
        clearError();
        m_format = wanted;
        begin(Request::Pushed);
        m_request.live = daemonCan("live");
        if (!say("transcribe", wish(Request::Pushed)) || !say("audio-start", formatData()))
            return false;
        updateState();
    }
    if (pcm.size() % m_format.frameBytes() != 0) {
        fail(QStringLiteral("bad-payload"), QStringLiteral("not a whole number of frames"));
        return false;
    }
    const qsizetype step = chunkBytes();
    for (qsizetype at = 0; at < pcm.size(); at += step) {
        if (!sendChunk(pcm.mid(at, step))) {
            const double seconds = static_cast<double>(pcm.size() - at) / m_format.frameBytes() / m_format.rate;
            setError(QStringLiteral("overrun"), QStringLiteral("whisperd does not keep up: audio was lost"));
            emit overrun(seconds);
            return false;
        }
    }
    return true;
}

bool WhisperClient::transcribeFile(const QUrl &url)
{
    if (!isReady())
        return false;
    auto file = std::make_unique<WavReader>(QQmlFile::urlToLocalFileOrQrc(url));
    if (!file->open()) {
        fail(QStringLiteral("bad-file"), file->error());
        return false;
    }
    const double most = m_connection->hello()
                            .value(QLatin1String("limits"))
                            .toObject()
                            .value(QLatin1String("max_clip_seconds"))
                            .toDouble(600);
    if (file->seconds() > most) {
        fail(QStringLiteral("audio-too-long"), QStringLiteral("the file is longer than %1 seconds").arg(most));
        return false;
    }
    cancel();
    clearError();
    m_file = std::move(file);
    m_format = m_file->format();
    begin(Request::File);
    if (!say("transcribe", wish(Request::File)) || !say("audio-start", formatData()))
        return false;
    updateState();
    pump();
    return true;
}

// Feeds the socket as it empties, so that a long file is never in memory as a whole.
void WhisperClient::pump()
{
    while (m_file && m_connection->pendingBytes() < FileAheadBytes) {
        const QByteArray samples = m_file->read(chunkBytes());
        if (samples.isEmpty()) {
            m_file.reset();
            say("audio-stop");
        } else if (!sendChunk(samples)) {
            return;
        }
    }
}

void WhisperClient::clearError()
{
    setError({}, {});
}

void WhisperClient::refreshDevices()
{
    if (isReady())
        say("devices", {{QStringLiteral("id"), QStringLiteral("devices")}});
}

void WhisperClient::reconnect()
{
    if (m_state != Disconnected)
        return;
    m_connection->open(m_socketPath);
}

void WhisperClient::setSocketPath(const QString &path)
{
    if (path == m_socketPath)
        return;
    m_socketPath = path;
    endRequest();
    setState(Disconnected);
    m_connection->open(path);
    emit socketPathChanged();
}

void WhisperClient::setLanguage(const QString &language)
{
    if (language == m_language)
        return;
    m_language = language;
    emit languageChanged();
}

void WhisperClient::setSensitivity(const QString &sensitivity)
{
    if (sensitivity == m_sensitivity)
        return;
    m_sensitivity = sensitivity;
    emit sensitivityChanged();
}

void WhisperClient::setTask(const QString &task)
{
    if (task == m_task)
        return;
    m_task = task;
    emit taskChanged();
}

// --- the connection ---------------------------------------------------------------------------------------------

void WhisperClient::onConnected()
{
    m_loadingPercent = -1;
    emit loadingPercentChanged();
    setState(Loading);
}

void WhisperClient::onReady()
{
    m_serverVersion = text(m_connection->hello(), "version");
    clearError();
    updateState();
    // With ids of their own, so that an error in answer is nobody's concern.
    say("describe", {{QStringLiteral("id"), QStringLiteral("info")}});
    refreshDevices();
}

void WhisperClient::onLost(const QString &code, const QString &why)
{
    endRequest();
    setState(Disconnected);
    // Each try that fails says the same: who shows it is told once.
    if (code == m_errorCode && why == m_error)
        return;
    fail(code, why, true);
}

void WhisperClient::onReceived(const QString &type, const QJsonObject &data)
{
    struct Known {
        Handler handler;
        bool ofRequest; // only if it carries the id of what is being asked for: others are late
    };
    static const QHash<QString, Known> known{
        {QStringLiteral("info"), {&WhisperClient::onInfo, false}},
        {QStringLiteral("model-loading"), {&WhisperClient::onModelLoading, false}},
        {QStringLiteral("devices"), {&WhisperClient::onDevices, false}},
        {QStringLiteral("error"), {&WhisperClient::onError, false}},
        {QStringLiteral("listening"), {&WhisperClient::onListening, true}},
        {QStringLiteral("voice-started"), {&WhisperClient::onVoiceStarted, true}},
        {QStringLiteral("voice-stopped"), {&WhisperClient::onVoiceStopped, true}},
        {QStringLiteral("partial"), {&WhisperClient::onPartial, true}},
        {QStringLiteral("transcript"), {&WhisperClient::onTranscript, true}},
        {QStringLiteral("no-speech"), {&WhisperClient::onNoSpeech, true}},
        {QStringLiteral("level"), {&WhisperClient::onLevel, true}},
        {QStringLiteral("overrun"), {&WhisperClient::onOverrun, true}},
        {QStringLiteral("mic-lost"), {&WhisperClient::onMicLost, true}},
        {QStringLiteral("mic-restored"), {&WhisperClient::onMicRestored, true}},
        {QStringLiteral("listen-stopped"), {&WhisperClient::onListenStopped, true}},
    };
    const auto found = known.constFind(type);
    if (found == known.constEnd())
        return; // a later daemon knows more
    if (found->ofRequest && (m_request.kind == Request::None || text(data, "id") != m_request.id))
        return;
    (this->*found->handler)(data);
}

// --- state ------------------------------------------------------------------------------------------------------

bool WhisperClient::isReady() const
{
    return m_connection->introduced();
}

bool WhisperClient::daemonCan(const char *feature) const
{
    const QJsonArray features = m_connection->hello().value(QLatin1String("features")).toArray();
    return features.contains(QLatin1String(feature));
}

void WhisperClient::begin(Request::Kind kind)
{
    m_request = {};
    m_request.kind = kind;
    m_request.id = QStringLiteral("q%1").arg(++m_sequence);
    setPartial({}, {});
}

void WhisperClient::endRequest()
{
    m_patience.stop();
    m_file.reset();
    m_request = {};
    setMicrophoneLost(false);
    setPartial({}, {});
    setLevel(0, 0);
    updateState();
}

QJsonObject WhisperClient::wish(Request::Kind kind) const
{
    QJsonObject data{{QStringLiteral("id"), m_request.id}};
    if (!m_language.isEmpty())
        data.insert(QStringLiteral("language"), m_language);
    if (m_task != QLatin1String("transcribe"))
        data.insert(QStringLiteral("task"), m_task);
    if (kind != Request::File)
        data.insert(QStringLiteral("vad_sensitivity"), m_sensitivity);
    if (kind == Request::Pushed)
        data.insert(QStringLiteral("live"), true);
    return data;
}

bool WhisperClient::sendChunk(const QByteArray &samples)
{
    return m_connection->send(QStringLiteral("audio-chunk"), formatData(), samples);
}

// What is not audio must not be left out: a daemon that has no room for it is left.
bool WhisperClient::say(const char *type, const QJsonObject &data)
{
    if (m_connection->send(QLatin1String(type), data))
        return true;
    m_connection->drop(QStringLiteral("no-answer"), QStringLiteral("whisperd does not read what it is sent"));
    return false;
}

QJsonObject WhisperClient::formatData() const
{
    return {{QStringLiteral("rate"), m_format.rate},
            {QStringLiteral("width"), m_format.width},
            {QStringLiteral("channels"), m_format.channels}};
}

qsizetype WhisperClient::chunkBytes() const
{
    const qint64 limit = m_connection->hello()
                             .value(QLatin1String("limits"))
                             .toObject()
                             .value(QLatin1String("payload_bytes"))
                             .toInteger(2 * ChunkBytes);
    const qsizetype frame = m_format.frameBytes();
    const qsizetype most = qMax<qint64>(qMin<qint64>(ChunkBytes, limit), frame);
    return most - most % frame;
}

void WhisperClient::updateState()
{
    if (!isReady())
        return;
    switch (m_request.kind) {
    case Request::None:
        return setState(Ready);
    case Request::File:
        return setState(Thinking);
    default:
        break;
    }
    if (m_request.speaking && !m_request.stopping)
        setState(Hearing);
    else if (m_request.thinking || m_request.stopping)
        setState(Thinking);
    else
        setState(Listening);
}

void WhisperClient::setState(State state)
{
    if (state == m_state)
        return;
    m_state = state;
    emit stateChanged();
}

void WhisperClient::setPartial(const QString &stable, const QString &unstable)
{
    if (stable == m_stable && unstable == m_unstable)
        return;
    m_stable = stable;
    m_unstable = unstable;
    emit partialChanged();
}

void WhisperClient::setLevel(double level, double peak)
{
    if (level == m_level && peak == m_peak)
        return;
    m_level = level;
    m_peak = peak;
    emit levelChanged();
}

void WhisperClient::setError(const QString &code, const QString &what)
{
    if (code == m_errorCode && what == m_error)
        return;
    m_errorCode = code;
    m_error = what;
    emit errorChanged();
}

void WhisperClient::fail(const QString &code, const QString &what, bool retry)
{
    setError(code, what);
    emit failed(code, what, retry);
}

void WhisperClient::setMicrophoneLost(bool lost)
{
    if (lost == m_microphoneLost)
        return;
    m_microphoneLost = lost;
    emit microphoneLostChanged();
}

} // namespace Whisper
