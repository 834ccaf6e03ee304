#include "preferences.h"

#include <QFontDatabase>
#include <QGuiApplication>
#include <QHash>
#include <QLocale>
#include <QQmlEngine>

namespace {

// Whether there is a font for a script. Latin there always is.
bool canShow(const QString &text)
{
    static const QHash<int, QFontDatabase::WritingSystem> systems{
        {QChar::Script_Arabic, QFontDatabase::Arabic},     {QChar::Script_Cyrillic, QFontDatabase::Cyrillic},
        {QChar::Script_Greek, QFontDatabase::Greek},       {QChar::Script_Hebrew, QFontDatabase::Hebrew},
        {QChar::Script_Han, QFontDatabase::Japanese},      {QChar::Script_Hangul, QFontDatabase::Korean},
        {QChar::Script_Hiragana, QFontDatabase::Japanese}, {QChar::Script_Devanagari, QFontDatabase::Devanagari},
        {QChar::Script_Thai, QFontDatabase::Thai},         {QChar::Script_Tamil, QFontDatabase::Tamil},
        {QChar::Script_Bengali, QFontDatabase::Bengali},   {QChar::Script_Georgian, QFontDatabase::Georgian},
        {QChar::Script_Armenian, QFontDatabase::Armenian},
    };
    for (const QChar letter : text) {
        const QChar::Script script = letter.script();
        if (script == QChar::Script_Latin || script == QChar::Script_Common || script == QChar::Script_Inherited)
            continue;
        if (!systems.contains(script) || QFontDatabase::families(systems.value(script)).isEmpty())
            return false;
    }
    return true;
}

} // namespace

Preferences *Preferences::create(QQmlEngine *engine, QJSEngine *)
{
    return new Preferences(engine);
}

Preferences::Preferences(QQmlEngine *engine)
    : m_engine(engine)
{
    const QString system = QLocale::system().name().section(QLatin1Char('_'), 0, 0);
    translateInto(m_settings.value(QStringLiteral("interfaceLanguage"), system).toString());
}

QStringList Preferences::interfaceLanguages() const
{
    return {QStringLiteral("en"), QStringLiteral("de"), QStringLiteral("ar")};
}

QString Preferences::sensitivity() const
{
    return m_settings.value(QStringLiteral("sensitivity"), QStringLiteral("default")).toString();
}

QString Preferences::languageName(const QString &code) const
{
    const QLocale locale(code);
    if (locale.language() == QLocale::C)
        return code;
    // "English" where CLDR has "American English": the language is meant, and no country.
    if (locale.language() == QLocale::English)
        return QStringLiteral("English");
    QString name = locale.nativeLanguageName();
    if (name.isEmpty() || !canShow(name))
        name = QLocale::languageToString(locale.language());
    return name.at(0).toUpper() + name.mid(1);
}

void Preferences::setInterfaceLanguage(const QString &language)
{
    if (language == m_interfaceLanguage)
        return;
    translateInto(language);
    m_settings.setValue(QStringLiteral("interfaceLanguage"), language);
    m_engine->retranslate();
    emit changed();
}

void Preferences::translateInto(const QString &language)
{
    QCoreApplication::removeTranslator(&m_translator);
    m_interfaceLanguage = interfaceLanguages().contains(language) ? language : QStringLiteral("en");
    const QString file = QStringLiteral(":/translations/whisper-gui_%1.qm").arg(m_interfaceLanguage);
    // The texts in the code are English.
    if (m_interfaceLanguage != QLatin1String("en") && m_translator.load(file))
        QCoreApplication::installTranslator(&m_translator);
    QGuiApplication::setLayoutDirection(rightToLeft() ? Qt::RightToLeft : Qt::LeftToRight);
}

void Preferences::set(const QString &name, const QVariant &value)
{
    if (m_settings.contains(name) && m_settings.value(name) == value)
        return;
    m_settings.setValue(name, value);
    emit changed();
}
