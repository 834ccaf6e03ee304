<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="de_DE">
<context>
    <name>AboutPage</name>
    <message>
        <source>Model</source>
        <translation>Modell</translation>
    </message>
    <message>
        <source>Description</source>
        <translation>Beschreibung</translation>
    </message>
    <message>
        <source>Languages</source>
        <translation>Sprachen</translation>
    </message>
    <message>
        <source>Daemon</source>
        <translation>Dienst</translation>
    </message>
    <message>
        <source>Not connected</source>
        <translation>Nicht verbunden</translation>
    </message>
    <message>
        <source>Program</source>
        <translation>Programm</translation>
    </message>
</context>
<context>
    <name>Banner</name>
    <message>
        <source>Close</source>
        <translation>Schließen</translation>
    </message>
</context>
<context>
    <name>DisplayPage</name>
    <message>
        <source>Dark</source>
        <translation>Dunkel</translation>
    </message>
    <message>
        <source>Light</source>
        <translation>Hell</translation>
    </message>
    <message>
        <source>Colours</source>
        <translation>Farben</translation>
    </message>
    <message>
        <source>Language of the program</source>
        <translation>Sprache des Programms</translation>
    </message>
</context>
<context>
    <name>HistoryPage</name>
    <message>
        <source>History</source>
        <translation>Verlauf</translation>
    </message>
    <message>
        <source>Clear</source>
        <translation>Leeren</translation>
    </message>
    <message>
        <source>Nothing yet</source>
        <translation>Noch nichts</translation>
    </message>
    <message>
        <source>What you say appears here until the program ends. It is not stored.</source>
        <translation>Was Sie sagen, steht hier bis zum Ende des Programms. Gespeichert wird es nicht.</translation>
    </message>
</context>
<context>
    <name>LanguagePage</name>
    <message>
        <source>As configured</source>
        <translation>Wie eingestellt</translation>
    </message>
    <message>
        <source>Detect</source>
        <translation>Erkennen</translation>
    </message>
    <message>
        <source>Takes longer, and short commands may be mistaken</source>
        <translation>Dauert länger und irrt sich bei kurzen Befehlen eher</translation>
    </message>
</context>
<context>
    <name>ListeningPage</name>
    <message>
        <source>Patient</source>
        <translation>Geduldig</translation>
    </message>
    <message>
        <source>A pause for thought does not end a sentence</source>
        <translation>Eine Denkpause beendet den Satz nicht</translation>
    </message>
    <message>
        <source>Normal</source>
        <translation>Normal</translation>
    </message>
    <message>
        <source>Quick</source>
        <translation>Schnell</translation>
    </message>
    <message>
        <source>For short commands</source>
        <translation>Für kurze Befehle</translation>
    </message>
    <message>
        <source>Write what is said</source>
        <translation>Schreiben, was gesagt wird</translation>
    </message>
    <message>
        <source>Translate into English</source>
        <translation>Ins Englische übersetzen</translation>
    </message>
    <message>
        <source>End of a sentence</source>
        <translation>Ende eines Satzes</translation>
    </message>
    <message>
        <source>Text</source>
        <translation>Text</translation>
    </message>
</context>
<context>
    <name>Main</name>
    <message>
        <source>Speech recognition is not running</source>
        <translation>Die Spracherkennung läuft nicht</translation>
    </message>
    <message>
        <source>This program may not use speech recognition</source>
        <translation>Dieses Programm darf die Spracherkennung nicht benutzen</translation>
    </message>
    <message>
        <source>The connection was lost</source>
        <translation>Die Verbindung ist abgebrochen</translation>
    </message>
    <message>
        <source>Speech recognition is being stopped</source>
        <translation>Die Spracherkennung wird beendet</translation>
    </message>
    <message>
        <source>Speech recognition does not answer</source>
        <translation>Die Spracherkennung antwortet nicht</translation>
    </message>
    <message>
        <source>Something else answers in the place of speech recognition</source>
        <translation>Statt der Spracherkennung antwortet etwas anderes</translation>
    </message>
    <message>
        <source>Too many programs use speech recognition</source>
        <translation>Zu viele Programme benutzen die Spracherkennung</translation>
    </message>
    <message>
        <source>No microphone: is it plugged in?</source>
        <translation>Kein Mikrofon: ist es eingesteckt?</translation>
    </message>
    <message>
        <source>The model does not know this language</source>
        <translation>Das Modell kennt diese Sprache nicht</translation>
    </message>
    <message>
        <source>The model cannot translate</source>
        <translation>Das Modell kann nicht übersetzen</translation>
    </message>
    <message>
        <source>Too much to do at once: please say it again</source>
        <translation>Zu viel auf einmal: bitte noch einmal</translation>
    </message>
    <message>
        <source>It took too long</source>
        <translation>Es hat zu lange gedauert</translation>
    </message>
    <message>
        <source>Something went wrong: please say it again</source>
        <translation>Etwas ging schief: bitte noch einmal</translation>
    </message>
    <message>
        <source>Speech recognition</source>
        <translation>Spracherkennung</translation>
    </message>
    <message>
        <source>I did not understand</source>
        <translation>Das habe ich nicht verstanden</translation>
    </message>
    <message>
        <source>I heard nothing</source>
        <translation>Ich habe nichts gehört</translation>
    </message>
    <message>
        <source>Some of it was lost: please say it again</source>
        <translation>Ein Teil ging verloren: bitte noch einmal</translation>
    </message>
    <message>
        <source>Touch the microphone, then just speak</source>
        <translation>Mikrofon antippen, dann einfach sprechen</translation>
    </message>
    <message>
        <source>Hold the microphone and speak</source>
        <translation>Mikrofon gedrückt halten und sprechen</translation>
    </message>
    <message>
        <source>Try now</source>
        <translation>Jetzt versuchen</translation>
    </message>
    <message>
        <source>Speech recognition is starting</source>
        <translation>Die Spracherkennung startet</translation>
    </message>
    <message>
        <source>The model is being loaded: %1 %</source>
        <translation>Das Modell wird geladen: %1 %</translation>
    </message>
    <message>
        <source>The model is being loaded.</source>
        <translation>Das Modell wird geladen.</translation>
    </message>
    <message>
        <source>Hold it while you speak</source>
        <translation>Beim Sprechen gedrückt halten</translation>
    </message>
    <message>
        <source>Cancel</source>
        <translation>Abbrechen</translation>
    </message>
    <message>
        <source>It connects by itself as soon as it can.</source>
        <translation>Sie verbindet sich von selbst, sobald es geht.</translation>
    </message>
    <message>
        <source>The microphone is gone. Listening goes on when it is back.</source>
        <translation>Das Mikrofon ist weg. Es geht weiter, sobald es wieder da ist.</translation>
    </message>
    <message>
        <source>Speech recognition is too old for this program</source>
        <translation>Die Spracherkennung ist zu alt für dieses Programm</translation>
    </message>
</context>
<context>
    <name>MicrophonePage</name>
    <message>
        <source>No microphone was found</source>
        <translation>Kein Mikrofon gefunden</translation>
    </message>
    <message>
        <source>Which one is used is set in the daemon&apos;s configuration.</source>
        <translation>Welches benutzt wird, legt die Konfiguration des Dienstes fest.</translation>
    </message>
    <message>
        <source>Search</source>
        <translation>Suchen</translation>
    </message>
</context>
<context>
    <name>SettingsPage</name>
    <message>
        <source>Language</source>
        <translation>Sprache</translation>
    </message>
    <message>
        <source>Listening</source>
        <translation>Zuhören</translation>
    </message>
    <message>
        <source>Microphone</source>
        <translation>Mikrofon</translation>
    </message>
    <message>
        <source>Display</source>
        <translation>Anzeige</translation>
    </message>
    <message>
        <source>About</source>
        <translation>Info</translation>
    </message>
    <message>
        <source>Settings</source>
        <translation>Einstellungen</translation>
    </message>
</context>
<context>
    <name>Sheet</name>
    <message>
        <source>Close</source>
        <translation>Schließen</translation>
    </message>
</context>
<context>
    <name>StatusChip</name>
    <message>
        <source>Not connected</source>
        <translation>Nicht verbunden</translation>
    </message>
    <message>
        <source>Starting…</source>
        <translation>Startet …</translation>
    </message>
    <message>
        <source>Listening</source>
        <translation>Hört zu</translation>
    </message>
    <message>
        <source>I hear you</source>
        <translation>Ich höre</translation>
    </message>
    <message>
        <source>One moment…</source>
        <translation>Einen Moment …</translation>
    </message>
    <message>
        <source>Ready</source>
        <translation>Bereit</translation>
    </message>
</context>
<context>
    <name>TalkButton</name>
    <message>
        <source>Stop listening</source>
        <translation>Zuhören beenden</translation>
    </message>
    <message>
        <source>Start listening</source>
        <translation>Zuhören starten</translation>
    </message>
    <message>
        <source>Hold to talk</source>
        <translation>Zum Sprechen halten</translation>
    </message>
</context>
<context>
    <name>TopBar</name>
    <message>
        <source>Push to talk</source>
        <translation>Sprechtaste</translation>
    </message>
    <message>
        <source>Hands-free</source>
        <translation>Freihändig</translation>
    </message>
    <message>
        <source>History</source>
        <translation>Verlauf</translation>
    </message>
    <message>
        <source>Settings</source>
        <translation>Einstellungen</translation>
    </message>
</context>
</TS>
