import QtQuick
import WhisperGui

// What was said since the program began; nothing of it is kept.
Sheet {
    id: page

    required property ListModel entries

    title: qsTr("History")
    actions: TextButton {
        objectName: "clear-history"
        visible: page.entries.count > 0
        symbol: "bin"
        text: qsTr("Clear")
        onClicked: page.entries.clear()
    }

    ListView {
        id: list
        objectName: "history"
        anchors.fill: parent
        clip: true
        spacing: Theme.px(10)
        model: page.entries
        boundsBehavior: Flickable.StopAtBounds
        activeFocusOnTab: true
        delegate: Rectangle {
            id: entry
            required property string words
            required property string language
            required property string time
            width: list.width
            height: column.height + 2 * Theme.px(14)
            radius: Theme.radius
            color: Theme.surface
            border { width: list.activeFocus && ListView.isCurrentItem ? Theme.px(3) : 1
                     color: list.activeFocus && ListView.isCurrentItem ? Theme.accent : Theme.outline }
            Column {
                id: column
                anchors {
                    left: parent.left; right: parent.right; top: parent.top
                    margins: Theme.px(14); leftMargin: Theme.px(18); rightMargin: Theme.px(18)
                }
                spacing: Theme.px(4)
                Text {
                    width: parent.width
                    text: entry.words
                    textFormat: Text.PlainText
                    color: Theme.text
                    wrapMode: Text.Wrap
                    font.pixelSize: Theme.px(20)
                }
                // Apart, so that a name in Arabic does not turn the line round.
                Row {
                    anchors.left: parent.left
                    spacing: Theme.px(10)
                    Repeater {
                        model: [entry.time, Preferences.languageName(entry.language)]
                        Text {
                            required property string modelData
                            text: modelData
                            color: Theme.secondary
                            font.pixelSize: Theme.small
                        }
                    }
                }
            }
        }
    }
    Notice {
        anchors.fill: parent
        visible: page.entries.count === 0
        symbol: "bubble"
        title: qsTr("Nothing yet")
        text: qsTr("What you say appears here until the program ends. It is not stored.")
    }
}
