// What the person at the screen has chosen.
#pragma once

#include <QObject>
#include <QSettings>
#include <QStringList>
#include <QTranslator>
#include <QtQml/qqmlregistration.h>

QT_BEGIN_NAMESPACE
class QJSEngine;
class QQmlEngine;
QT_END_NAMESPACE

/// Kept from one start to the next. What was said is not: it is a microphone in a car.
class Preferences : public QObject
{
    Q_OBJECT
    QML_ELEMENT
    QML_SINGLETON

    Q_PROPERTY(bool dark READ dark WRITE setDark NOTIFY changed)
    Q_PROPERTY(bool handsFree READ handsFree WRITE setHandsFree NOTIFY changed)
    Q_PROPERTY(bool translate READ translate WRITE setTranslate NOTIFY changed)
    Q_PROPERTY(QString sensitivity READ sensitivity WRITE setSensitivity NOTIFY changed)
    /// As WhisperClient's `language`.
    Q_PROPERTY(QString speechLanguage READ speechLanguage WRITE setSpeechLanguage NOTIFY changed)
    /// "en", "de" or "ar"; of the system where nothing is chosen.
    Q_PROPERTY(QString interfaceLanguage READ interfaceLanguage WRITE setInterfaceLanguage NOTIFY changed)
    Q_PROPERTY(QStringList interfaceLanguages READ interfaceLanguages CONSTANT)
    Q_PROPERTY(bool rightToLeft READ rightToLeft NOTIFY changed)

public:
    static Preferences *create(QQmlEngine *engine, QJSEngine *);

    /// A language's name in itself, or in English where no font has its letters.
    Q_INVOKABLE QString languageName(const QString &code) const;

    bool dark() const { return m_settings.value(QStringLiteral("dark"), true).toBool(); }
    bool handsFree() const { return m_settings.value(QStringLiteral("handsFree"), false).toBool(); }
    bool translate() const { return m_settings.value(QStringLiteral("translate"), false).toBool(); }
    QString sensitivity() const;
    QString speechLanguage() const { return m_settings.value(QStringLiteral("speechLanguage")).toString(); }
    QString interfaceLanguage() const { return m_interfaceLanguage; }
    QStringList interfaceLanguages() const;
    bool rightToLeft() const { return m_interfaceLanguage == QLatin1String("ar"); }

    void setDark(bool dark) { set(QStringLiteral("dark"), dark); }
    void setHandsFree(bool handsFree) { set(QStringLiteral("handsFree"), handsFree); }
    void setTranslate(bool translate) { set(QStringLiteral("translate"), translate); }
    void setSensitivity(const QString &sensitivity) { set(QStringLiteral("sensitivity"), sensitivity); }
    void setSpeechLanguage(const QString &language) { set(QStringLiteral("speechLanguage"), language); }
    void setInterfaceLanguage(const QString &language);

signals:
    void changed();

private:
    explicit Preferences(QQmlEngine *engine);

    void set(const QString &name, const QVariant &value);
    void translateInto(const QString &language);

    QQmlEngine *m_engine;
    QSettings m_settings;
    QTranslator m_translator;
    QString m_interfaceLanguage = QStringLiteral("en");
};
