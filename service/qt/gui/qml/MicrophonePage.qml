import QtQuick
import Whisper

// The daemon's microphones: which there are, and which is in use. Its configuration decides.
Item {
    id: page

    required property WhisperClient client

    Component.onCompleted: client.refreshDevices()

    ListView {
        id: list
        anchors { fill: parent; bottomMargin: foot.height + Theme.gap }
        clip: true
        boundsBehavior: Flickable.StopAtBounds
        spacing: Theme.px(2)
        model: page.client.devices
        delegate: ChoiceRow {
            required property var modelData
            width: list.width
            choosable: false
            symbol: "microphone"
            text: modelData.description || modelData.name
            detail: modelData.name
            chosen: page.client.device === "" ? modelData["default"] === true : modelData.name === page.client.device
        }
    }
    Text {
        anchors.centerIn: list
        visible: list.count === 0
        text: qsTr("No microphone was found")
        color: Theme.secondary
        font.pixelSize: Theme.body
    }
    Item {
        id: foot
        anchors { left: parent.left; right: parent.right; bottom: parent.bottom }
        height: Theme.touch
        Text {
            anchors {
                left: parent.left; right: search.left; leftMargin: Theme.px(16); rightMargin: Theme.gap
                verticalCenter: parent.verticalCenter
            }
            text: qsTr("Which one is used is set in the daemon's configuration.")
            color: Theme.secondary
            wrapMode: Text.Wrap
            horizontalAlignment: Text.AlignLeft
            font.pixelSize: Theme.small
        }
        TextButton {
            id: search
            anchors.right: parent.right
            symbol: "again"
            text: qsTr("Search")
            enabled: page.client.state >= WhisperClient.Ready
            onClicked: page.client.refreshDevices()
        }
    }
}
