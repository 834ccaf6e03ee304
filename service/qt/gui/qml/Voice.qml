import QtQuick
import Whisper

// The voice as it comes: bars that run outwards from the middle, as high as it is loud.
Item {
    id: voice

    required property WhisperClient client
    // Left free in the middle.
    property real hole: 0
    property color color: Theme.accent
    readonly property bool active: client.state === WhisperClient.Listening || client.state === WhisperClient.Hearing
    readonly property int count: 26
    property var heights: []

    function push(height: real) {
        heights = [height].concat(heights).slice(0, count);
    }

    // Levels may be left out: time goes on without them.
    Timer {
        interval: 50
        repeat: true
        running: voice.active && Theme.animate
        onTriggered: voice.push(voice.client.level)
    }
    Connections {
        target: voice.client
        enabled: !Theme.animate
        function onLevelChanged() {
            if (voice.active)
                voice.push(voice.client.level);
        }
    }
    onActiveChanged: if (!active) heights = []

    Repeater {
        model: 2 * voice.count
        Rectangle {
            required property int index
            readonly property int place: index % voice.count
            readonly property real step: (voice.width - voice.hole) / 2 / voice.count
            readonly property real away: voice.hole / 2 + (place + 0.5) * step
            width: Math.max(3, Math.round(step * 0.42))
            height: Math.max(width, voice.height * (voice.heights[place] || 0) * (1 - 0.55 * place / voice.count))
            radius: width / 2
            x: voice.width / 2 + (index < voice.count ? -away : away) - width / 2
            y: (voice.height - height) / 2
            color: voice.active ? voice.color : Theme.outline
            opacity: 1 - 0.75 * place / voice.count
            Behavior on height {
                enabled: Theme.animate
                NumberAnimation { duration: 60 }
            }
        }
    }
}
