import QtQuick
import WhisperGui
import Whisper

// State on one side, what can be opened on the other, and the way of talking in the middle.
Item {
    id: bar

    required property WhisperClient client
    signal historyWanted()
    signal settingsWanted()

    implicitHeight: Theme.px(76)

    StatusChip {
        client: bar.client
        anchors { left: parent.left; leftMargin: Theme.margin; verticalCenter: parent.verticalCenter }
    }
    SegmentedControl {
        anchors.centerIn: parent
        value: Preferences.handsFree ? "hands-free" : "push-to-talk"
        options: [
            { value: "push-to-talk", text: qsTr("Push to talk"), symbol: "microphone" },
            { value: "hands-free", text: qsTr("Hands-free"), symbol: "waves" }
        ]
        onChosen: value => {
            bar.client.cancel();
            Preferences.handsFree = value === "hands-free";
        }
    }
    Row {
        anchors { right: parent.right; rightMargin: Theme.px(14); verticalCenter: parent.verticalCenter }
        IconButton {
            objectName: "open-history"
            symbol: "clock"
            text: qsTr("History")
            onClicked: bar.historyWanted()
        }
        IconButton {
            objectName: "open-settings"
            symbol: "sliders"
            text: qsTr("Settings")
            onClicked: bar.settingsWanted()
        }
    }
}
