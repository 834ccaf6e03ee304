import QtQuick
import WhisperGui

// In the place of the words where there can be none.
Item {
    id: notice

    property string symbol
    property color color: Theme.secondary
    property string title
    property string text
    property string action
    property int percent: -1
    signal acted()

    Column {
        anchors.centerIn: parent
        width: Math.min(parent.width, Theme.px(640))
        spacing: Theme.px(10)

        Rectangle {
            anchors.horizontalCenter: parent.horizontalCenter
            width: Theme.px(68)
            height: width
            radius: width / 2
            color: Theme.withAlpha(notice.color, 0.16)
            Icon {
                anchors.centerIn: parent
                width: Theme.px(34)
                height: width
                name: notice.symbol
                color: notice.color
            }
        }
        Text {
            objectName: "notice"
            width: parent.width
            horizontalAlignment: Text.AlignHCenter
            wrapMode: Text.Wrap
            text: notice.title
            color: Theme.text
            font { pixelSize: Theme.px(26); weight: Font.DemiBold }
        }
        Text {
            width: parent.width
            visible: text !== ""
            horizontalAlignment: Text.AlignHCenter
            wrapMode: Text.Wrap
            text: notice.text
            color: Theme.secondary
            font.pixelSize: Theme.body
        }
        Rectangle {
            anchors.horizontalCenter: parent.horizontalCenter
            visible: notice.percent >= 0
            width: Theme.px(320)
            height: Theme.px(8)
            radius: height / 2
            color: Theme.raised
            Rectangle {
                width: parent.width * Math.max(0, notice.percent) / 100
                x: notice.LayoutMirroring.enabled ? parent.width - width : 0
                height: parent.height
                radius: height / 2
                color: notice.color
            }
        }
        Item { width: 1; height: Theme.px(2); visible: button.visible }
        TextButton {
            id: button
            objectName: "notice-action"
            anchors.horizontalCenter: parent.horizontalCenter
            visible: notice.action !== ""
            text: notice.action
            symbol: "again"
            onClicked: notice.acted()
        }
    }
}
