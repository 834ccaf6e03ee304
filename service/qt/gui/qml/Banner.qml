import QtQuick
import WhisperGui

// Something that is to be known and does not stop the rest.
Rectangle {
    id: banner

    property string text
    property string symbol: "warning"
    property color tint: Theme.error
    property bool dismissable: true
    signal dismissed()

    implicitHeight: Math.max(Theme.touch, words.implicitHeight + Theme.px(16))
    radius: Theme.radius
    color: Theme.surface
    border { width: Theme.px(2); color: banner.tint }
    Accessible.role: Accessible.AlertMessage
    Accessible.name: text

    Icon {
        id: icon
        anchors { left: parent.left; leftMargin: Theme.px(16); verticalCenter: parent.verticalCenter }
        width: Theme.px(26)
        height: width
        name: banner.symbol
        color: banner.tint
    }
    Text {
        id: words
        objectName: "banner"
        anchors {
            left: icon.right; right: close.visible ? close.left : parent.right
            leftMargin: Theme.gap; rightMargin: Theme.gap
            verticalCenter: parent.verticalCenter
        }
        text: banner.text
        color: Theme.text
        wrapMode: Text.Wrap
        maximumLineCount: 2
        elide: Text.ElideRight
        horizontalAlignment: Text.AlignLeft
        font.pixelSize: Theme.body
    }
    IconButton {
        id: close
        anchors { right: parent.right; verticalCenter: parent.verticalCenter }
        visible: banner.dismissable
        symbol: "cross"
        text: qsTr("Close")
        onClicked: banner.dismissed()
    }
}
