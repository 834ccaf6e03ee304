import QtQuick
import WhisperGui
import QtQuick.Templates as T

// One line of a list to choose from, or of facts to read.
T.AbstractButton {
    id: row

    property string detail
    property string symbol
    property bool chosen: false
    property bool choosable: true

    implicitHeight: Math.max(Theme.touch, words.height + Theme.px(16))
    focusPolicy: choosable ? Qt.TabFocus : Qt.NoFocus
    hoverEnabled: false
    Accessible.role: choosable ? Accessible.RadioButton : Accessible.StaticText
    Accessible.name: detail === "" ? text : text + ", " + detail
    Keys.onReturnPressed: clicked()
    Keys.onEnterPressed: clicked()

    background: Rectangle {
        radius: Theme.radius
        color: row.choosable && row.down ? Theme.raised
             : row.chosen ? Theme.withAlpha(Theme.accent, Theme.dark ? 0.18 : 0.1) : "transparent"
        border.width: row.visualFocus ? Theme.px(3) : 0
        border.color: Theme.accent
    }
    contentItem: Item {
        Icon {
            id: icon
            visible: row.symbol !== ""
            x: row.mirrored ? parent.width - width - Theme.px(16) : Theme.px(16)
            anchors.verticalCenter: parent.verticalCenter
            width: Theme.px(24)
            height: width
            name: row.symbol
            color: row.chosen ? Theme.accent : Theme.secondary
        }
        Column {
            id: words
            anchors {
                left: parent.left; right: parent.right
                leftMargin: row.symbol === "" ? Theme.px(16) : Theme.px(54)
                rightMargin: Theme.px(row.chosen ? 48 : 16)
                verticalCenter: parent.verticalCenter
            }
            spacing: Theme.px(2)
            Text {
                width: parent.width
                text: row.text
                color: Theme.text
                elide: Text.ElideRight
                horizontalAlignment: Text.AlignLeft
                font { pixelSize: Theme.body; weight: row.chosen ? Font.DemiBold : Font.Normal }
            }
            Text {
                visible: text !== ""
                width: parent.width
                text: row.detail
                color: Theme.secondary
                wrapMode: Text.Wrap
                maximumLineCount: 3
                elide: Text.ElideRight
                horizontalAlignment: Text.AlignLeft
                font.pixelSize: Theme.small
            }
        }
        Icon {
            visible: row.chosen
            x: row.mirrored ? Theme.px(16) : parent.width - width - Theme.px(16)
            anchors.verticalCenter: parent.verticalCenter
            width: Theme.px(22)
            height: width
            name: "check"
            color: Theme.accent
            weight: 2.5
        }
    }
}
