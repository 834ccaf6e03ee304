import QtQuick
import WhisperGui
import QtQuick.Templates as T

// A word to touch.
T.AbstractButton {
    id: button

    property string symbol
    property bool prominent: false
    readonly property color ink: !enabled ? Theme.disabled : prominent ? Theme.inkOnAccent : Theme.text

    implicitWidth: row.width + 2 * Theme.margin
    implicitHeight: Theme.touch
    focusPolicy: Qt.TabFocus
    Accessible.name: text
    Keys.onReturnPressed: clicked()
    Keys.onEnterPressed: clicked()

    background: Rectangle {
        radius: Theme.radius
        color: button.prominent && button.enabled ? Theme.accent : Theme.raised
        opacity: button.down ? 0.75 : 1
        border.width: button.visualFocus ? Theme.px(3) : 0
        border.color: button.prominent ? Theme.text : Theme.accent
    }
    contentItem: Item {
        Row {
            id: row
            anchors.centerIn: parent
            spacing: Theme.gap
            Icon {
                visible: button.symbol !== ""
                anchors.verticalCenter: parent.verticalCenter
                width: Theme.px(22)
                height: width
                name: button.symbol
                color: button.ink
            }
            Text {
                anchors.verticalCenter: parent.verticalCenter
                text: button.text
                color: button.ink
                font { pixelSize: Theme.body; weight: Font.Medium }
            }
        }
    }
}
