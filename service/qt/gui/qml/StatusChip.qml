import QtQuick
import Whisper

// What goes on, as a coloured dot and a word.
Item {
    id: chip

    required property WhisperClient client
    readonly property color color: {
        switch (client.state) {
        case WhisperClient.Disconnected: return Theme.error;
        case WhisperClient.Loading: return Theme.warning;
        case WhisperClient.Listening: return client.microphoneLost ? Theme.warning : Theme.accent;
        case WhisperClient.Hearing: return Theme.hearing;
        case WhisperClient.Thinking: return Theme.thinking;
        default: return Theme.hearing;
        }
    }
    readonly property string text: {
        switch (client.state) {
        case WhisperClient.Disconnected: return qsTr("Not connected");
        case WhisperClient.Loading: return qsTr("Starting…");
        case WhisperClient.Listening: return qsTr("Listening");
        case WhisperClient.Hearing: return qsTr("I hear you");
        case WhisperClient.Thinking: return qsTr("One moment…");
        default: return qsTr("Ready");
        }
    }

    implicitWidth: row.width
    implicitHeight: Theme.touch
    Accessible.role: Accessible.StaticText
    Accessible.name: text

    Row {
        id: row
        anchors.verticalCenter: parent.verticalCenter
        spacing: Theme.gap
        Rectangle {
            anchors.verticalCenter: parent.verticalCenter
            width: Theme.px(12)
            height: width
            radius: width / 2
            color: chip.color
        }
        Text {
            objectName: "status"
            anchors.verticalCenter: parent.verticalCenter
            text: chip.text
            color: Theme.text
            font { pixelSize: Theme.px(20); weight: Font.DemiBold }
        }
    }
}
