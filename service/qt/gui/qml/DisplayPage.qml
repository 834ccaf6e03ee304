import QtQuick
import WhisperGui

// Colours, and the language of the program itself.
Flickable {
    id: page

    contentHeight: column.height
    clip: true
    boundsBehavior: Flickable.StopAtBounds

    Column {
        id: column
        width: page.width
        spacing: Theme.px(2)

        Heading { text: qsTr("Colours") }
        Repeater {
            model: [{ dark: true, text: qsTr("Dark") }, { dark: false, text: qsTr("Light") }]
            ChoiceRow {
                required property var modelData
                objectName: modelData.dark ? "theme-dark" : "theme-light"
                width: column.width
                text: modelData.text
                chosen: Preferences.dark === modelData.dark
                onClicked: Preferences.dark = modelData.dark
            }
        }
        Heading { text: qsTr("Language of the program") }
        Repeater {
            model: Preferences.interfaceLanguages
            ChoiceRow {
                required property string modelData
                objectName: "interface-" + modelData
                width: column.width
                text: Preferences.languageName(modelData)
                chosen: Preferences.interfaceLanguage === modelData
                onClicked: Preferences.interfaceLanguage = modelData
            }
        }
    }
}
