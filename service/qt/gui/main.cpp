// whisper-gui: speech recognition on a car's screen, by way of whisperd. `whisper-gui --help` tells the options.
#include "application.h"

#include <QCommandLineParser>
#include <QGuiApplication>
#include <QRegularExpression>

int main(int argc, char *argv[])
{
    Application::introduce();
    QGuiApplication program(argc, argv);

    QCommandLineParser parser;
    parser.setApplicationDescription(QStringLiteral("Speech recognition on a screen, by way of whisperd"));
    parser.addHelpOption();
    parser.addVersionOption();
    parser.addOptions({
        {QStringLiteral("socket"), QStringLiteral("The daemon's socket."), QStringLiteral("path")},
        {QStringLiteral("size"),
         QStringLiteral("A window of this size, as in 800x480; the whole screen without it."),
         QStringLiteral("size")},
    });
    parser.process(program);

    Application::Options options;
    options.socketPath = parser.value(QStringLiteral("socket"));
    if (parser.isSet(QStringLiteral("size"))) {
        static const QRegularExpression form(QStringLiteral("^(\\d{3,4})x(\\d{3,4})$"));
        const QRegularExpressionMatch match = form.match(parser.value(QStringLiteral("size")));
        if (!match.hasMatch()) {
            qCritical("whisper-gui: --size wants WIDTHxHEIGHT, as in 800x480");
            return 2;
        }
        options.size = {match.captured(1).toInt(), match.captured(2).toInt()};
    }
    Application application(options);
    if (!application.window())
        return 1;
    return program.exec();
}
