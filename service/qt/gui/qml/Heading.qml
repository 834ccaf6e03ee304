import QtQuick
import WhisperGui

// Over a group of lines.
Text {
    width: parent ? parent.width : implicitWidth
    leftPadding: Theme.px(16)
    rightPadding: Theme.px(16)
    topPadding: Theme.px(6)
    bottomPadding: Theme.px(2)
    color: Theme.secondary
    horizontalAlignment: Text.AlignLeft
    font { pixelSize: Theme.small; weight: Font.DemiBold }
}
