import QtQuick
import Whisper

// The words: those that stay, those that may change, and what was said before.
Item {
    id: transcript

    required property WhisperClient client
    property string previous
    property string hint
    readonly property bool live: client.stableText !== "" || client.unstableText !== ""
    readonly property bool empty: !live && client.finalText === ""

    function escaped(text: string): string {
        return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/\n/g, "<br>");
    }

    Text {
        id: before
        anchors { left: parent.left; right: parent.right; top: parent.top }
        visible: text !== ""
        text: transcript.previous
        color: Theme.secondary
        elide: Text.ElideRight
        textFormat: Text.PlainText
        font.pixelSize: Theme.px(19)
    }
    Flickable {
        anchors {
            left: parent.left; right: parent.right; bottom: parent.bottom
            top: before.visible ? before.bottom : parent.top
            topMargin: before.visible ? Theme.px(10) : 0
        }
        visible: !transcript.empty
        clip: true
        contentHeight: words.height
        contentY: Math.max(0, words.height - height)
        Text {
            id: words
            objectName: "words"
            width: parent.width
            wrapMode: Text.Wrap
            textFormat: Text.StyledText
            color: Theme.text
            lineHeight: 1.12
            font { pixelSize: Theme.words; weight: Font.Medium }
            text: transcript.live
                ? transcript.escaped(transcript.client.stableText) + "<font color=\"" + Theme.secondary + "\">"
                  + transcript.escaped(transcript.client.unstableText) + "</font>"
                : transcript.escaped(transcript.client.finalText)
        }
    }
    Text {
        objectName: "hint"
        anchors.centerIn: parent
        width: parent.width
        visible: transcript.empty
        horizontalAlignment: Text.AlignHCenter
        wrapMode: Text.Wrap
        text: transcript.hint
        color: Theme.secondary
        font.pixelSize: Theme.px(26)
    }
}
