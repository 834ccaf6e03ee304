import QtQuick
import WhisperGui
import QtQuick.Templates as T

// One of a few, side by side. `options` are {value, text, symbol}.
Rectangle {
    id: control

    property var options: []
    property var value
    signal chosen(var value)

    implicitHeight: Theme.touch
    implicitWidth: row.width + 2 * row.x
    radius: Theme.radius
    color: Theme.raised

    Row {
        id: row
        x: Theme.px(4)
        y: Theme.px(4)
        height: parent.height - 2 * y
        Repeater {
            model: control.options
            T.AbstractButton {
                id: segment
                required property var modelData
                readonly property bool current: modelData.value === control.value
                readonly property color ink: current ? Theme.text : Theme.secondary
                objectName: "segment-" + modelData.value
                height: row.height
                implicitWidth: content.width + 2 * Theme.px(18)
                focusPolicy: Qt.TabFocus
                text: modelData.text
                checked: current
                Accessible.role: Accessible.RadioButton
                Accessible.name: text
                Keys.onReturnPressed: clicked()
                Keys.onEnterPressed: clicked()
                onClicked: control.chosen(modelData.value)
                background: Rectangle {
                    radius: Theme.radius - Theme.px(3)
                    color: segment.current ? Theme.surface : "transparent"
                    opacity: segment.down ? 0.7 : 1
                    border.width: segment.visualFocus ? Theme.px(3) : segment.current ? 1 : 0
                    border.color: segment.visualFocus ? Theme.accent : Theme.outline
                }
                contentItem: Item {
                    Row {
                        id: content
                        anchors.centerIn: parent
                        spacing: Theme.px(8)
                        Icon {
                            visible: name !== ""
                            anchors.verticalCenter: parent.verticalCenter
                            width: Theme.px(20)
                            height: width
                            name: segment.modelData.symbol || ""
                            color: segment.current ? Theme.accent : Theme.secondary
                        }
                        Text {
                            anchors.verticalCenter: parent.verticalCenter
                            text: segment.text
                            color: segment.ink
                            font { pixelSize: Theme.px(17); weight: segment.current ? Font.DemiBold : Font.Normal }
                        }
                    }
                }
            }
        }
    }
}
