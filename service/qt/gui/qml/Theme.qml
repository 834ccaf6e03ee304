pragma Singleton

import QtQuick
import WhisperGui

// Colours and measures. Text has a contrast of 4.5 to 1 and more to what is behind it, in both.
QtObject {
    property bool animate: true
    // Of 800x480, so that a larger screen shows larger things and not more of them.
    property real unit: 1

    readonly property bool dark: Preferences.dark
    readonly property color background: dark ? "#0d1117" : "#eef2f7"
    readonly property color surface: dark ? "#171e28" : "#ffffff"
    readonly property color raised: dark ? "#222c3a" : "#e2e8f1"
    readonly property color outline: dark ? "#2c3848" : "#cfd8e3"
    readonly property color text: dark ? "#f3f6fa" : "#121821"
    readonly property color secondary: dark ? "#9fb0c3" : "#4c5a6b"
    readonly property color disabled: dark ? "#5c6a7b" : "#98a4b3"
    readonly property color accent: dark ? "#4c9dff" : "#0b62d0"
    readonly property color inkOnAccent: dark ? "#06101d" : "#ffffff"
    readonly property color hearing: dark ? "#34d399" : "#047857"
    readonly property color thinking: dark ? "#c4a5ff" : "#6d3fc9"
    readonly property color warning: dark ? "#fbbf24" : "#92500a"
    readonly property color error: dark ? "#ff8585" : "#b3261e"

    readonly property int small: px(15)
    readonly property int body: px(18)
    readonly property int title: px(22)
    readonly property int words: px(34)
    readonly property int touch: px(56)
    readonly property int gap: px(12)
    readonly property int margin: px(24)
    readonly property int radius: px(14)

    function px(length: real): int {
        return Math.round(length * unit);
    }

    function withAlpha(color: color, alpha: real): color {
        return Qt.rgba(color.r, color.g, color.b, alpha);
    }
}
