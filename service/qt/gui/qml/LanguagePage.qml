import QtQuick
import WhisperGui
import Whisper

// The language that is spoken.
ListView {
    id: list

    required property WhisperClient client

    clip: true
    boundsBehavior: Flickable.StopAtBounds
    spacing: Theme.px(2)
    model: ["", "auto"].concat(client.languages)
    delegate: ChoiceRow {
        required property string modelData
        objectName: "language-" + modelData
        width: list.width
        text: modelData === "" ? qsTr("As configured")
            : modelData === "auto" ? qsTr("Detect") : Preferences.languageName(modelData)
        detail: modelData === "auto" ? qsTr("Takes longer, and short commands may be mistaken") : ""
        chosen: modelData === Preferences.speechLanguage
        onClicked: Preferences.speechLanguage = modelData
    }
}
