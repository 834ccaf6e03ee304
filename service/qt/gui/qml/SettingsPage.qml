import QtQuick
import Whisper

// A list of topics, and beside it the one that is chosen.
Sheet {
    id: page

    required property WhisperClient client
    property int topic: 0
    readonly property var topics: [
        { text: qsTr("Language"), symbol: "globe" },
        { text: qsTr("Listening"), symbol: "waves" },
        { text: qsTr("Microphone"), symbol: "microphone" },
        { text: qsTr("Display"), symbol: "sun" },
        { text: qsTr("About"), symbol: "info" }
    ]

    title: qsTr("Settings")

    Column {
        id: list
        anchors.left: parent.left
        width: Theme.px(220)
        spacing: Theme.px(6)
        Repeater {
            model: page.topics
            ChoiceRow {
                required property var modelData
                required property int index
                objectName: "topic-" + index
                width: list.width
                text: modelData.text
                symbol: modelData.symbol
                Accessible.role: Accessible.PageTab
                background: Rectangle {
                    radius: Theme.radius
                    color: page.topic === parent.index ? Theme.raised : "transparent"
                    border.width: parent.visualFocus ? Theme.px(3) : 0
                    border.color: Theme.accent
                }
                onClicked: page.topic = index
            }
        }
    }
    Rectangle {
        anchors {
            left: list.right; right: parent.right; top: parent.top; bottom: parent.bottom
            leftMargin: Theme.px(20)
        }
        radius: Theme.radius
        color: Theme.surface
        border { width: 1; color: Theme.outline }
        Loader {
            anchors { fill: parent; margins: Theme.px(12) }
            active: page.visible
            sourceComponent: [languages, listening, microphone, display, about][page.topic]
        }
    }
    Component { id: languages; LanguagePage { client: page.client } }
    Component { id: listening; ListeningPage { } }
    Component { id: microphone; MicrophonePage { client: page.client } }
    Component { id: display; DisplayPage { } }
    Component { id: about; AboutPage { client: page.client } }
}
