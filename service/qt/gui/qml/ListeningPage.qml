import QtQuick
import WhisperGui

// How soon an utterance is over, and what becomes of it.
Flickable {
    id: page

    contentHeight: column.height
    clip: true
    boundsBehavior: Flickable.StopAtBounds

    Column {
        id: column
        width: page.width
        spacing: Theme.px(2)

        Heading { text: qsTr("End of a sentence") }
        Repeater {
            model: [
                { value: "relaxed", text: qsTr("Patient"), detail: qsTr("A pause for thought does not end a sentence") },
                { value: "default", text: qsTr("Normal"), detail: "" },
                { value: "aggressive", text: qsTr("Quick"), detail: qsTr("For short commands") }
            ]
            ChoiceRow {
                required property var modelData
                objectName: "sensitivity-" + modelData.value
                width: column.width
                text: modelData.text
                detail: modelData.detail
                chosen: Preferences.sensitivity === modelData.value
                onClicked: Preferences.sensitivity = modelData.value
            }
        }
        Heading { text: qsTr("Text") }
        Repeater {
            model: [
                { value: false, text: qsTr("Write what is said"), detail: "" },
                { value: true, text: qsTr("Translate into English"), detail: "" }
            ]
            ChoiceRow {
                required property var modelData
                width: column.width
                text: modelData.text
                chosen: Preferences.translate === modelData.value
                onClicked: Preferences.translate = modelData.value
            }
        }
    }
}
