#include "icon.h"

#include <QHash>
#include <QPainter>
#include <QPainterPath>

namespace {

using Drawing = QPainterPath (*)();

void line(QPainterPath &path, double x1, double y1, double x2, double y2)
{
    path.moveTo(x1, y1);
    path.lineTo(x2, y2);
}

QPainterPath microphone()
{
    QPainterPath path;
    path.addRoundedRect(9, 2.5, 6, 11.5, 3, 3);
    path.moveTo(5.5, 11);
    path.arcTo(QRectF(5.5, 4.5, 13, 13), 180, 180);
    line(path, 12, 17.5, 12, 21);
    line(path, 8.5, 21, 15.5, 21);
    return path;
}

QPainterPath microphoneOff()
{
    QPainterPath path = microphone();
    line(path, 4, 3, 20, 21);
    return path;
}

QPainterPath sliders()
{
    QPainterPath path;
    line(path, 3.5, 7, 13, 7);
    path.addEllipse(QPointF(15.5, 7), 2.5, 2.5);
    line(path, 18, 7, 20.5, 7);
    line(path, 3.5, 17, 6, 17);
    path.addEllipse(QPointF(8.5, 17), 2.5, 2.5);
    line(path, 11, 17, 20.5, 17);
    return path;
}

QPainterPath clock()
{
    QPainterPath path;
    path.addEllipse(QPointF(12, 12), 8.75, 8.75);
    path.moveTo(12, 7);
    path.lineTo(12, 12);
    path.lineTo(15.5, 14);
    return path;
}

QPainterPath cross()
{
    QPainterPath path;
    line(path, 6, 6, 18, 18);
    line(path, 18, 6, 6, 18);
    return path;
}

QPainterPath check()
{
    QPainterPath path;
    path.moveTo(5, 12.5);
    path.lineTo(10, 17.5);
    path.lineTo(19.5, 7);
    return path;
}

QPainterPath bin()
{
    QPainterPath path;
    line(path, 4, 6.5, 20, 6.5);
    line(path, 9.5, 3.5, 14.5, 3.5);
    path.moveTo(6, 6.5);
    path.lineTo(7, 20.5);
    path.lineTo(17, 20.5);
    path.lineTo(18, 6.5);
    line(path, 10, 10.5, 10.3, 16.5);
    line(path, 14, 10.5, 13.7, 16.5);
    return path;
}

QPainterPath again()
{
    QPainterPath path;
    path.arcMoveTo(QRectF(4, 4, 16, 16), 40);
    path.arcTo(QRectF(4, 4, 16, 16), 40, 290);
    path.moveTo(18.6, 2.5);
    path.lineTo(18.2, 7.2);
    path.lineTo(13.6, 6.6);
    return path;
}

QPainterPath globe()
{
    QPainterPath path;
    path.addEllipse(QPointF(12, 12), 8.75, 8.75);
    path.addEllipse(QPointF(12, 12), 4, 8.75);
    line(path, 3.5, 12, 20.5, 12);
    return path;
}

QPainterPath sun()
{
    QPainterPath path;
    path.addEllipse(QPointF(12, 12), 4.25, 4.25);
    for (int i = 0; i < 8; ++i) {
        QTransform turn;
        turn.translate(12, 12);
        turn.rotate(45 * i);
        const QPointF from = turn.map(QPointF(0, -7.5));
        const QPointF to = turn.map(QPointF(0, -9.75));
        line(path, from.x(), from.y(), to.x(), to.y());
    }
    return path;
}

QPainterPath info()
{
    QPainterPath path;
    path.addEllipse(QPointF(12, 12), 8.75, 8.75);
    line(path, 12, 11.5, 12, 16.5);
    line(path, 12, 7.75, 12, 7.8);
    return path;
}

QPainterPath warning()
{
    QPainterPath path;
    path.moveTo(12, 3.5);
    path.lineTo(21.5, 20);
    path.lineTo(2.5, 20);
    path.closeSubpath();
    line(path, 12, 10, 12, 14.5);
    line(path, 12, 17.2, 12, 17.25);
    return path;
}

QPainterPath waves()
{
    QPainterPath path;
    line(path, 3.5, 10.5, 3.5, 13.5);
    line(path, 7.75, 7, 7.75, 17);
    line(path, 12, 3.5, 12, 20.5);
    line(path, 16.25, 7, 16.25, 17);
    line(path, 20.5, 10.5, 20.5, 13.5);
    return path;
}

QPainterPath plug()
{
    QPainterPath path;
    line(path, 9, 2.5, 9, 7);
    line(path, 15, 2.5, 15, 7);
    path.moveTo(5.5, 7);
    path.lineTo(18.5, 7);
    path.lineTo(18.5, 10.5);
    path.arcTo(QRectF(5.5, 4, 13, 13), 0, -180);
    path.closeSubpath();
    line(path, 12, 17, 12, 21.5);
    return path;
}

QPainterPath stop()
{
    QPainterPath path;
    path.addRoundedRect(6, 6, 12, 12, 2, 2);
    return path;
}

QPainterPath bubble()
{
    QPainterPath path;
    path.moveTo(6.5, 4);
    path.lineTo(17.5, 4);
    path.quadTo(21, 4, 21, 7.5);
    path.lineTo(21, 12.5);
    path.quadTo(21, 16, 17.5, 16);
    path.lineTo(12, 16);
    path.lineTo(7, 20.5);
    path.lineTo(7, 16);
    path.lineTo(6.5, 16);
    path.quadTo(3, 16, 3, 12.5);
    path.lineTo(3, 7.5);
    path.quadTo(3, 4, 6.5, 4);
    return path;
}

const QHash<QString, Drawing> &drawings()
{
    static const QHash<QString, Drawing> all{
        {QStringLiteral("microphone"), microphone},
        {QStringLiteral("microphone-off"), microphoneOff},
        {QStringLiteral("sliders"), sliders},
        {QStringLiteral("clock"), clock},
        {QStringLiteral("cross"), cross},
        {QStringLiteral("check"), check},
        {QStringLiteral("bin"), bin},
        {QStringLiteral("again"), again},
        {QStringLiteral("globe"), globe},
        {QStringLiteral("sun"), sun},
        {QStringLiteral("info"), info},
        {QStringLiteral("warning"), warning},
        {QStringLiteral("waves"), waves},
        {QStringLiteral("plug"), plug},
        {QStringLiteral("stop"), stop},
        {QStringLiteral("bubble"), bubble},
    };
    return all;
}

} // namespace

Icon::Icon(QQuickItem *parent)
    : QQuickPaintedItem(parent)
{
    setAntialiasing(true);
}

void Icon::setName(const QString &name)
{
    if (name == m_name)
        return;
    m_name = name;
    update();
    emit nameChanged();
}

void Icon::setColor(const QColor &color)
{
    if (color == m_color)
        return;
    m_color = color;
    update();
    emit colorChanged();
}

void Icon::setWeight(double weight)
{
    if (weight == m_weight)
        return;
    m_weight = weight;
    update();
    emit weightChanged();
}

void Icon::paint(QPainter *painter)
{
    const Drawing drawing = drawings().value(m_name);
    if (!drawing)
        return;
    const double side = qMin(width(), height());
    painter->translate((width() - side) / 2, (height() - side) / 2);
    painter->scale(side / 24, side / 24);
    painter->setPen(QPen(m_color, m_weight, Qt::SolidLine, Qt::RoundCap, Qt::RoundJoin));
    if (m_name == QLatin1String("stop"))
        painter->setBrush(m_color);
    painter->drawPath(drawing());
}
