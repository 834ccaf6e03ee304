import QtQuick

// A page over the whole screen.
FocusScope {
    id: sheet

    property string title
    property alias actions: actionRow.data
    default property alias content: body.data
    signal closed()

    visible: false
    Accessible.role: Accessible.Dialog
    Accessible.name: title

    function open() {
        visible = true;
        back.forceActiveFocus();
    }
    function close() {
        visible = false;
        closed();
    }
    Keys.onEscapePressed: close()

    Rectangle {
        anchors.fill: parent
        color: Theme.background
    }
    // What is behind is not touched.
    MouseArea { anchors.fill: parent }

    Item {
        id: head
        width: parent.width
        height: Theme.px(76)
        IconButton {
            id: back
            objectName: "close-sheet"
            anchors { left: parent.left; leftMargin: Theme.px(14); verticalCenter: parent.verticalCenter }
            symbol: "cross"
            text: qsTr("Close")
            color: Theme.text
            focus: true
            onClicked: sheet.close()
        }
        Text {
            anchors { left: back.right; leftMargin: Theme.px(8); verticalCenter: parent.verticalCenter }
            text: sheet.title
            color: Theme.text
            font { pixelSize: Theme.px(24); weight: Font.DemiBold }
        }
        Row {
            id: actionRow
            anchors { right: parent.right; rightMargin: Theme.margin; verticalCenter: parent.verticalCenter }
            spacing: Theme.gap
        }
    }
    Item {
        id: body
        anchors {
            top: head.bottom; left: parent.left; right: parent.right; bottom: parent.bottom
            leftMargin: Theme.margin; rightMargin: Theme.margin; bottomMargin: Theme.margin
        }
    }
}
