import QtQuick
import Whisper

// What serves.
Flickable {
    id: page

    required property WhisperClient client
    readonly property bool known: client.state >= WhisperClient.Ready

    contentHeight: column.height
    clip: true
    boundsBehavior: Flickable.StopAtBounds

    Column {
        id: column
        width: page.width
        spacing: Theme.px(2)

        Repeater {
            model: [
                { text: qsTr("Model"), detail: page.known ? page.client.modelName : "–" },
                { text: qsTr("Description"), detail: page.known ? page.client.modelDescription : "–" },
                { text: qsTr("Languages"), detail: page.known ? String(page.client.languages.length) : "–" },
                { text: qsTr("Daemon"), detail: page.known ? "whisperd " + page.client.serverVersion : qsTr("Not connected") },
                { text: qsTr("Program"), detail: "whisper-gui " + Qt.application.version }
            ]
            ChoiceRow {
                required property var modelData
                width: column.width
                choosable: false
                text: modelData.text
                detail: modelData.detail
            }
        }
    }
}
