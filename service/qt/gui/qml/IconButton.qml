import QtQuick
import WhisperGui
import QtQuick.Templates as T

// A pictogram to touch; its text is what a screen reader says.
T.AbstractButton {
    id: button

    property string symbol
    property color color: Theme.secondary
    property bool lit: false

    implicitWidth: Theme.touch
    implicitHeight: Theme.touch
    focusPolicy: Qt.TabFocus
    Accessible.name: text
    Keys.onReturnPressed: clicked()
    Keys.onEnterPressed: clicked()

    background: Rectangle {
        radius: width / 2
        color: button.down || button.lit ? Theme.raised : "transparent"
        border.width: button.visualFocus ? Theme.px(3) : 0
        border.color: Theme.accent
    }
    contentItem: Item {
        Icon {
            anchors.centerIn: parent
            width: Theme.px(28)
            height: width
            name: button.symbol
            color: !button.enabled ? Theme.disabled : button.lit ? Theme.accent : button.color
        }
    }
}
