// WhisperClient: what the daemon says, an event a method.
#include "whisperclient.h"

#include <QJsonArray>

#include <algorithm>

namespace Whisper {

namespace {

constexpr double QuietestDb = -60.0;

QString text(const QJsonObject &data, const char *name)
{
    return data.value(QLatin1String(name)).toString();
}

// Where a bar of a meter ends: linear in decibels, as loudness is heard.
double fromDecibels(double db)
{
    return std::clamp(1.0 - db / QuietestDb, 0.0, 1.0);
}

} // namespace

void WhisperClient::onInfo(const QJsonObject &data)
{
    const QJsonObject program = data.value(QLatin1String("asr")).toArray().first().toObject();
    const QJsonObject model = program.value(QLatin1String("models")).toArray().first().toObject();
    m_modelName = text(model, "name");
    m_modelDescription = text(model, "description");
    m_languages.clear();
    const QJsonArray languages = model.value(QLatin1String("languages")).toArray();
    for (const QJsonValue &code : languages)
        m_languages.append(code.toString());
    emit infoChanged();
}

void WhisperClient::onModelLoading(const QJsonObject &data)
{
    const int percent = std::clamp(data.value(QLatin1String("percent")).toInt(-1), -1, 100);
    if (percent == m_loadingPercent)
        return;
    m_loadingPercent = percent;
    emit loadingPercentChanged();
}

void WhisperClient::onDevices(const QJsonObject &data)
{
    m_devices = data.value(QLatin1String("devices")).toArray().toVariantList();
    emit devicesChanged();
}

void WhisperClient::onListening(const QJsonObject &data)
{
    m_patience.stop();
    m_request.live = m_request.heard = true;
    m_device = text(data, "device");
    emit deviceChanged();
    updateState();
}

void WhisperClient::onVoiceStarted(const QJsonObject &)
{
    m_request.live = m_request.heard = true;
    m_request.speaking = true;
    updateState();
}

void WhisperClient::onVoiceStopped(const QJsonObject &)
{
    m_request.speaking = false;
    m_request.thinking = true;
    updateState();
}

void WhisperClient::onPartial(const QJsonObject &data)
{
    m_request.live = m_request.heard = true;
    if (data.value(QLatin1String("utterance")).toInteger() <= m_request.lastFinal)
        return;
    setPartial(text(data, "stable"), text(data, "unstable"));
}

void WhisperClient::onTranscript(const QJsonObject &data)
{
    m_final = text(data, "text");
    m_finalLanguage = text(data, "language");
    endUtterance(data);
    emit finalTextChanged();
    emit finalReceived(m_final, m_finalLanguage, data.toVariantMap());
}

void WhisperClient::onNoSpeech(const QJsonObject &data)
{
    endUtterance(data);
    emit noSpeech(text(data, "reason"));
}

void WhisperClient::endUtterance(const QJsonObject &data)
{
    m_request.lastFinal = data.value(QLatin1String("utterance")).toInteger(m_request.lastFinal);
    m_request.thinking = false;
    m_request.answered = true;
    setPartial({}, {});
    // A daemon that does not follow what is pushed has said all that it will.
    if (m_request.kind == Request::File || (m_request.kind == Request::Pushed && !m_request.live))
        endRequest();
    else
        updateState();
}

void WhisperClient::onLevel(const QJsonObject &data)
{
    m_request.live = m_request.heard = true;
    if (m_request.stopping)
        return;
    setLevel(fromDecibels(data.value(QLatin1String("rms")).toDouble(-96)),
             fromDecibels(data.value(QLatin1String("peak")).toDouble(-96)));
}

void WhisperClient::onOverrun(const QJsonObject &data)
{
    emit overrun(data.value(QLatin1String("seconds")).toDouble());
}

void WhisperClient::onMicLost(const QJsonObject &data)
{
    setMicrophoneLost(true);
    setLevel(0, 0);
    emit micLost(text(data, "text"), data.value(QLatin1String("retry_seconds")).toDouble());
}

void WhisperClient::onMicRestored(const QJsonObject &)
{
    setMicrophoneLost(false);
    emit micRestored();
}

void WhisperClient::onListenStopped(const QJsonObject &)
{
    // Held and let go without a sound: of that nothing else is said.
    const bool nothing = !m_request.answered;
    endRequest();
    if (nothing)
        emit noSpeech(QStringLiteral("silence"));
}

void WhisperClient::onError(const QJsonObject &data)
{
    const QString id = text(data, "id");
    if (!id.isEmpty() && id != m_request.id)
        return; // of what was cancelled
    const bool ours = !id.isEmpty() && m_request.kind != Request::None;
    const QString code = data.value(QLatin1String("code")).toString(QStringLiteral("internal"));
    // While it listens, the error is of one utterance, and listening goes on.
    if (ours && m_request.heard) {
        m_request.thinking = false;
        m_request.answered = true;
        setPartial({}, {});
        updateState();
    } else if (ours) {
        endRequest();
    }
    fail(code, text(data, "text"), data.value(QLatin1String("retry")).toBool());
}

} // namespace Whisper
