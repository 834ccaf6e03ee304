import QtQuick
import WhisperGui
import QtQuick.Templates as T
import Whisper

// The one large button: hold it and speak, or touch it to begin and to end.
T.AbstractButton {
    id: button

    required property WhisperClient client
    property bool handsFree: false
    property bool held: false
    readonly property bool listening: client.state === WhisperClient.Listening || client.state === WhisperClient.Hearing
    readonly property bool thinking: client.state === WhisperClient.Thinking
    readonly property color color: {
        if (!enabled)
            return Theme.raised;
        if (client.microphoneLost)
            return Theme.warning;
        if (client.state === WhisperClient.Hearing)
            return Theme.hearing;
        return thinking ? Theme.thinking : Theme.accent;
    }
    /// Let go before a word can have been said.
    signal tooShort()

    function begin() {
        if (held || !enabled)
            return;
        held = true;
        if (!handsFree)
            client.listen(WhisperClient.PushToTalk);
        else if (client.state > WhisperClient.Ready)
            client.stop();
        else
            client.listen(WhisperClient.HandsFree);
        since = Date.now();
    }
    function end() {
        if (!held)
            return;
        held = false;
        if (handsFree)
            return;
        if (Date.now() - since < 250) {
            client.cancel();
            tooShort();
        } else {
            client.stop();
        }
    }
    property double since: 0

    implicitWidth: Theme.px(112)
    implicitHeight: implicitWidth
    enabled: client.state >= WhisperClient.Ready
    focusPolicy: Qt.StrongFocus
    text: handsFree ? (client.state > WhisperClient.Ready ? qsTr("Stop listening") : qsTr("Start listening"))
                    : qsTr("Hold to talk")
    Accessible.name: text
    onPressed: begin()
    onReleased: end()
    onCanceled: end()
    // A key that is held repeats itself; a finger does not.
    Keys.onPressed: event => {
        if (event.key === Qt.Key_Space || event.key === Qt.Key_Return || event.key === Qt.Key_Enter) {
            event.accepted = true;
            if (!event.isAutoRepeat)
                begin();
        }
    }
    Keys.onReleased: event => {
        if (event.key === Qt.Key_Space || event.key === Qt.Key_Return || event.key === Qt.Key_Enter) {
            event.accepted = true;
            if (!event.isAutoRepeat)
                end();
        }
    }
    onActiveFocusChanged: if (!activeFocus) end()
    onEnabledChanged: if (!enabled) end()

    background: Item {
        Repeater {
            model: 2
            Rectangle {
                required property int index
                anchors.centerIn: parent
                width: button.width * (1 + (button.listening ? (0.05 + button.client.level * 0.1) * (index + 1) : 0))
                height: width
                radius: width / 2
                color: Theme.withAlpha(button.color, 0.2 - 0.08 * index)
                Behavior on width {
                    enabled: Theme.animate
                    NumberAnimation { duration: 90 }
                }
            }
        }
        Rectangle {
            anchors { fill: parent; margins: -Theme.px(7) }
            visible: button.visualFocus
            radius: width / 2
            color: "transparent"
            border { width: Theme.px(3); color: Theme.text }
        }
        Rectangle {
            anchors.fill: parent
            radius: width / 2
            color: button.down || button.held ? Qt.darker(button.color, 1.12) : button.color
            Behavior on color {
                enabled: Theme.animate
                ColorAnimation { duration: 150 }
            }
        }
    }
    contentItem: Item {
        Icon {
            anchors.centerIn: parent
            visible: !button.thinking
            width: button.width * 0.46
            height: width
            name: button.client.microphoneLost ? "microphone-off"
                : button.handsFree && button.client.state > WhisperClient.Ready ? "stop" : "microphone"
            color: button.enabled ? Theme.inkOnAccent : Theme.disabled
        }
        Row {
            anchors.centerIn: parent
            visible: button.thinking
            spacing: button.width * 0.08
            Repeater {
                model: 3
                Rectangle {
                    id: dot
                    required property int index
                    width: button.width * 0.11
                    height: width
                    radius: width / 2
                    color: Theme.inkOnAccent
                    SequentialAnimation on opacity {
                        running: button.thinking && Theme.animate
                        loops: Animation.Infinite
                        PauseAnimation { duration: 160 * dot.index }
                        NumberAnimation { from: 1; to: 0.25; duration: 280 }
                        NumberAnimation { from: 0.25; to: 1; duration: 280 }
                        PauseAnimation { duration: 160 * (2 - dot.index) }
                    }
                }
            }
        }
    }
}
