import QtQuick
import WhisperGui
import Whisper

// The one window. Keys: space or return talks, tab goes on, H and S open history and settings, escape goes back.
Window {
    id: window

    property alias socketPath: client.socketPath
    property bool animate: true
    readonly property bool talking: client.state > WhisperClient.Ready
    property string remark

    // What an error is to a person. Of one that is not here, the daemon's own words are shown.
    function sentence(code: string, text: string): string {
        switch (code) {
        case "not-running": return qsTr("Speech recognition is not running");
        case "permission-denied": return qsTr("This program may not use speech recognition");
        case "connection-lost": return qsTr("The connection was lost");
        case "shutting-down": return qsTr("Speech recognition is being stopped");
        case "not-supported": return qsTr("Speech recognition is too old for this program");
        case "no-answer": return qsTr("Speech recognition does not answer");
        case "bad-wire": return qsTr("Something else answers in the place of speech recognition");
        case "too-many-connections": return qsTr("Too many programs use speech recognition");
        case "no-microphone": return qsTr("No microphone: is it plugged in?");
        case "unknown-language": return qsTr("The model does not know this language");
        case "unknown-task": return qsTr("The model cannot translate");
        case "queue-full": return qsTr("Too much to do at once: please say it again");
        case "timed-out": return qsTr("It took too long");
        case "internal": return qsTr("Something went wrong: please say it again");
        default: return text === "" ? code : text;
        }
    }
    function restart() {
        words.focus = true;
        talk.forceActiveFocus();
    }

    width: 800
    height: 480
    visible: true
    title: qsTr("Speech recognition")
    color: Theme.background

    LayoutMirroring.enabled: Preferences.rightToLeft
    LayoutMirroring.childrenInherit: true

    Binding { target: Theme; property: "animate"; value: window.animate }
    Binding { target: Theme; property: "unit"; value: Math.max(0.8, Math.min(window.width / 800, window.height / 480)) }

    WhisperClient {
        id: client
        objectName: "client"
        language: Preferences.speechLanguage
        sensitivity: Preferences.sensitivity
        task: Preferences.translate ? "translate" : "transcribe"
        onFinalReceived: (text, language, details) => {
            if (text === "") {
                window.remark = qsTr("I did not understand");
                return;
            }
            window.remark = "";
            entries.insert(0, { words: text, language: language, time: Qt.formatTime(new Date(), "hh:mm") });
            if (entries.count > 200)
                entries.remove(200);
        }
        onNoSpeech: reason => window.remark = reason === "doubtful" ? qsTr("I did not understand")
                                                                    : qsTr("I heard nothing")
        onOverrun: seconds => window.remark = qsTr("Some of it was lost: please say it again")
        onStateChanged: {
            if (state === WhisperClient.Listening || state === WhisperClient.Hearing)
                window.remark = "";
            if (state === WhisperClient.Ready)
                window.restart();
        }
    }
    ListModel { id: entries }

    FocusScope {
        id: screen
        anchors.fill: parent
        focus: true
        enabled: !history.visible && !settings.visible
        Keys.onPressed: event => {
            event.accepted = true;
            switch (event.key) {
            case Qt.Key_Escape: client.cancel(); break;
            case Qt.Key_H: history.open(); break;
            case Qt.Key_S: settings.open(); break;
            case Qt.Key_Space: talk.forceActiveFocus(); if (!event.isAutoRepeat) talk.begin(); break;
            default: event.accepted = false;
            }
        }

        TopBar {
            id: top
            width: parent.width
            client: client
            onHistoryWanted: history.open()
            onSettingsWanted: settings.open()
        }

        Rectangle {
            id: card
            anchors {
                top: top.bottom; left: parent.left; right: parent.right; bottom: dock.top
                leftMargin: Theme.margin; rightMargin: Theme.margin
            }
            radius: Theme.px(20)
            color: Theme.surface
            border { width: 1; color: Theme.outline }

            Transcript {
                id: words
                anchors { fill: parent; margins: Theme.px(22); bottomMargin: banner.visible ? banner.height + Theme.px(24) : Theme.px(22) }
                visible: client.state >= WhisperClient.Ready
                client: client
                previous: {
                    const older = words.live ? 0 : 1;
                    return entries.count > older ? entries.get(older).words : "";
                }
                hint: Preferences.handsFree ? qsTr("Touch the microphone, then just speak")
                                            : qsTr("Hold the microphone and speak")
            }
            Notice {
                anchors { fill: parent; margins: Theme.px(16) }
                visible: client.state === WhisperClient.Disconnected
                symbol: "plug"
                color: Theme.error
                title: window.sentence(client.errorCode || "not-running", client.error)
                text: qsTr("It connects by itself as soon as it can.")
                action: qsTr("Try now")
                onActed: client.reconnect()
            }
            Notice {
                anchors { fill: parent; margins: Theme.px(16) }
                visible: client.state === WhisperClient.Loading
                symbol: "waves"
                color: Theme.warning
                title: qsTr("Speech recognition is starting")
                text: client.loadingPercent >= 0 ? qsTr("The model is being loaded: %1 %").arg(client.loadingPercent)
                                                 : qsTr("The model is being loaded.")
                percent: client.loadingPercent
            }
            Banner {
                id: banner
                anchors { left: parent.left; right: parent.right; bottom: parent.bottom; margins: Theme.px(12) }
                readonly property bool lost: client.microphoneLost
                visible: client.state >= WhisperClient.Ready && (lost || client.errorCode !== "")
                tint: lost ? Theme.warning : Theme.error
                symbol: lost ? "microphone-off" : "warning"
                text: lost ? qsTr("The microphone is gone. Listening goes on when it is back.")
                           : window.sentence(client.errorCode, client.error)
                dismissable: !lost
                onDismissed: client.clearError()
            }
        }

        Item {
            id: dock
            anchors { left: parent.left; right: parent.right; bottom: parent.bottom }
            // Nothing to talk to: the whole place is for saying so.
            visible: client.state >= WhisperClient.Ready
            height: visible ? Theme.px(184) : Theme.margin

            Voice {
                anchors {
                    left: parent.left; right: parent.right; verticalCenter: talk.verticalCenter
                    leftMargin: Theme.margin; rightMargin: Theme.margin
                }
                height: Theme.px(96)
                hole: talk.width * 1.75
                client: client
                color: talk.color
            }
            TalkButton {
                id: talk
                objectName: "talk"
                anchors { horizontalCenter: parent.horizontalCenter; top: parent.top; topMargin: Theme.px(22) }
                focus: true
                client: client
                handsFree: Preferences.handsFree
                onTooShort: window.remark = qsTr("Hold it while you speak")
            }
            Text {
                objectName: "remark"
                anchors { horizontalCenter: parent.horizontalCenter; bottom: parent.bottom; bottomMargin: Theme.px(14) }
                text: window.remark !== "" ? window.remark : talk.text
                color: window.remark !== "" ? Theme.warning : Theme.secondary
                font.pixelSize: Theme.px(17)
                visible: talk.enabled
            }
            TextButton {
                objectName: "cancel"
                anchors { right: parent.right; rightMargin: Theme.margin; bottom: parent.bottom; bottomMargin: Theme.px(10) }
                visible: window.talking
                symbol: "cross"
                text: qsTr("Cancel")
                onClicked: client.cancel()
            }
        }
    }

    HistoryPage {
        id: history
        anchors.fill: parent
        entries: entries
        onClosed: window.restart()
    }
    SettingsPage {
        id: settings
        anchors.fill: parent
        client: client
        onClosed: window.restart()
    }
}
