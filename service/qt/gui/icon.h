// The program's pictograms.
#pragma once

#include <QColor>
#include <QQuickPaintedItem>
#include <QtQml/qqmlregistration.h>

/// A pictogram drawn in one colour: no image files, and smooth edges whatever Qt Quick draws with.
class Icon : public QQuickPaintedItem
{
    Q_OBJECT
    QML_ELEMENT

    /// One of those in icon.cpp; of another name nothing is drawn.
    Q_PROPERTY(QString name READ name WRITE setName NOTIFY nameChanged)
    Q_PROPERTY(QColor color READ color WRITE setColor NOTIFY colorChanged)
    /// Line width, of 24 parts of the whole.
    Q_PROPERTY(double weight READ weight WRITE setWeight NOTIFY weightChanged)

public:
    explicit Icon(QQuickItem *parent = nullptr);

    QString name() const { return m_name; }
    QColor color() const { return m_color; }
    double weight() const { return m_weight; }
    void setName(const QString &name);
    void setColor(const QColor &color);
    void setWeight(double weight);

    void paint(QPainter *painter) override;

signals:
    void nameChanged();
    void colorChanged();
    void weightChanged();

private:
    QString m_name;
    QColor m_color = Qt::white;
    double m_weight = 2;
};
