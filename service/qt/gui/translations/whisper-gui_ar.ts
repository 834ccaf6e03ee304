<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" language="ar">
<context>
    <name>AboutPage</name>
    <message>
        <source>Model</source>
        <translation>النموذج</translation>
    </message>
    <message>
        <source>Description</source>
        <translation>الوصف</translation>
    </message>
    <message>
        <source>Languages</source>
        <translation>اللغات</translation>
    </message>
    <message>
        <source>Daemon</source>
        <translation>الخدمة</translation>
    </message>
    <message>
        <source>Not connected</source>
        <translation>غير متصل</translation>
    </message>
    <message>
        <source>Program</source>
        <translation>البرنامج</translation>
    </message>
</context>
<context>
    <name>Banner</name>
    <message>
        <source>Close</source>
        <translation>إغلاق</translation>
    </message>
</context>
<context>
    <name>DisplayPage</name>
    <message>
        <source>Dark</source>
        <translation>داكن</translation>
    </message>
    <message>
        <source>Light</source>
        <translation>فاتح</translation>
    </message>
    <message>
        <source>Colours</source>
        <translation>الألوان</translation>
    </message>
    <message>
        <source>Language of the program</source>
        <translation>لغة البرنامج</translation>
    </message>
</context>
<context>
    <name>HistoryPage</name>
    <message>
        <source>History</source>
        <translation>السجل</translation>
    </message>
    <message>
        <source>Clear</source>
        <translation>مسح</translation>
    </message>
    <message>
        <source>Nothing yet</source>
        <translation>لا شيء بعد</translation>
    </message>
    <message>
        <source>What you say appears here until the program ends. It is not stored.</source>
        <translation>يظهر هنا ما تقوله حتى إغلاق البرنامج، ولا يُحفظ.</translation>
    </message>
</context>
<context>
    <name>LanguagePage</name>
    <message>
        <source>As configured</source>
        <translation>حسب الإعداد</translation>
    </message>
    <message>
        <source>Detect</source>
        <translation>تلقائي</translation>
    </message>
    <message>
        <source>Takes longer, and short commands may be mistaken</source>
        <translation>أبطأ، وقد يخطئ في الأوامر القصيرة</translation>
    </message>
</context>
<context>
    <name>ListeningPage</name>
    <message>
        <source>Patient</source>
        <translation>متأنٍّ</translation>
    </message>
    <message>
        <source>A pause for thought does not end a sentence</source>
        <translation>التوقّف للتفكير لا يُنهي الجملة</translation>
    </message>
    <message>
        <source>Normal</source>
        <translation>عادي</translation>
    </message>
    <message>
        <source>Quick</source>
        <translation>سريع</translation>
    </message>
    <message>
        <source>For short commands</source>
        <translation>للأوامر القصيرة</translation>
    </message>
    <message>
        <source>Write what is said</source>
        <translation>اكتب ما يُقال</translation>
    </message>
    <message>
        <source>Translate into English</source>
        <translation>ترجم إلى الإنجليزية</translation>
    </message>
    <message>
        <source>End of a sentence</source>
        <translation>نهاية الجملة</translation>
    </message>
    <message>
        <source>Text</source>
        <translation>النص</translation>
    </message>
</context>
<context>
    <name>Main</name>
    <message>
        <source>Speech recognition is not running</source>
        <translation>التعرّف على الكلام لا يعمل</translation>
    </message>
    <message>
        <source>This program may not use speech recognition</source>
        <translation>لا يُسمح لهذا البرنامج باستخدام التعرّف على الكلام</translation>
    </message>
    <message>
        <source>The connection was lost</source>
        <translation>انقطع الاتصال</translation>
    </message>
    <message>
        <source>Speech recognition is being stopped</source>
        <translation>يجري إيقاف التعرّف على الكلام</translation>
    </message>
    <message>
        <source>Speech recognition does not answer</source>
        <translation>التعرّف على الكلام لا يستجيب</translation>
    </message>
    <message>
        <source>Something else answers in the place of speech recognition</source>
        <translation>شيء آخر يجيب مكان التعرّف على الكلام</translation>
    </message>
    <message>
        <source>Too many programs use speech recognition</source>
        <translation>برامج كثيرة تستخدم التعرّف على الكلام</translation>
    </message>
    <message>
        <source>No microphone: is it plugged in?</source>
        <translation>لا يوجد ميكروفون: هل هو موصول؟</translation>
    </message>
    <message>
        <source>The model does not know this language</source>
        <translation>النموذج لا يعرف هذه اللغة</translation>
    </message>
    <message>
        <source>The model cannot translate</source>
        <translation>النموذج لا يستطيع الترجمة</translation>
    </message>
    <message>
        <source>Too much to do at once: please say it again</source>
        <translation>المهام كثيرة الآن: قُلها مرة أخرى</translation>
    </message>
    <message>
        <source>It took too long</source>
        <translation>استغرق الأمر وقتًا طويلًا</translation>
    </message>
    <message>
        <source>Something went wrong: please say it again</source>
        <translation>حدث خطأ: قُلها مرة أخرى</translation>
    </message>
    <message>
        <source>Speech recognition</source>
        <translation>التعرّف على الكلام</translation>
    </message>
    <message>
        <source>I did not understand</source>
        <translation>لم أفهم</translation>
    </message>
    <message>
        <source>I heard nothing</source>
        <translation>لم أسمع شيئًا</translation>
    </message>
    <message>
        <source>Some of it was lost: please say it again</source>
        <translation>ضاع جزء منه: قُلها مرة أخرى</translation>
    </message>
    <message>
        <source>Touch the microphone, then just speak</source>
        <translation>المس الميكروفون ثم تكلّم</translation>
    </message>
    <message>
        <source>Hold the microphone and speak</source>
        <translation>المس الميكروفون مطوّلًا وتكلّم</translation>
    </message>
    <message>
        <source>Try now</source>
        <translation>حاول الآن</translation>
    </message>
    <message>
        <source>Speech recognition is starting</source>
        <translation>يجري بدء التعرّف على الكلام</translation>
    </message>
    <message>
        <source>The model is being loaded: %1 %</source>
        <translation>يجري تحميل النموذج: %1 %</translation>
    </message>
    <message>
        <source>The model is being loaded.</source>
        <translation>يجري تحميل النموذج.</translation>
    </message>
    <message>
        <source>Hold it while you speak</source>
        <translation>أبقِ إصبعك عليه أثناء الكلام</translation>
    </message>
    <message>
        <source>Cancel</source>
        <translation>إلغاء</translation>
    </message>
    <message>
        <source>It connects by itself as soon as it can.</source>
        <translation>سيُعاد الاتصال تلقائيًا.</translation>
    </message>
    <message>
        <source>The microphone is gone. Listening goes on when it is back.</source>
        <translation>اختفى الميكروفون. سيُستأنف الاستماع عند عودته.</translation>
    </message>
    <message>
        <source>Speech recognition is too old for this program</source>
        <translation>التعرّف على الكلام أقدم من هذا البرنامج</translation>
    </message>
</context>
<context>
    <name>MicrophonePage</name>
    <message>
        <source>No microphone was found</source>
        <translation>لم يُعثر على ميكروفون</translation>
    </message>
    <message>
        <source>Which one is used is set in the daemon&apos;s configuration.</source>
        <translation>يُحدَّد الميكروفون المستخدم في إعدادات الخدمة.</translation>
    </message>
    <message>
        <source>Search</source>
        <translation>بحث</translation>
    </message>
</context>
<context>
    <name>SettingsPage</name>
    <message>
        <source>Language</source>
        <translation>اللغة</translation>
    </message>
    <message>
        <source>Listening</source>
        <translation>الاستماع</translation>
    </message>
    <message>
        <source>Microphone</source>
        <translation>الميكروفون</translation>
    </message>
    <message>
        <source>Display</source>
        <translation>العرض</translation>
    </message>
    <message>
        <source>About</source>
        <translation>حول</translation>
    </message>
    <message>
        <source>Settings</source>
        <translation>الإعدادات</translation>
    </message>
</context>
<context>
    <name>Sheet</name>
    <message>
        <source>Close</source>
        <translation>إغلاق</translation>
    </message>
</context>
<context>
    <name>StatusChip</name>
    <message>
        <source>Not connected</source>
        <translation>غير متصل</translation>
    </message>
    <message>
        <source>Starting…</source>
        <translation>يبدأ…</translation>
    </message>
    <message>
        <source>Listening</source>
        <translation>أستمع</translation>
    </message>
    <message>
        <source>I hear you</source>
        <translation>أسمعك</translation>
    </message>
    <message>
        <source>One moment…</source>
        <translation>لحظة…</translation>
    </message>
    <message>
        <source>Ready</source>
        <translation>جاهز</translation>
    </message>
</context>
<context>
    <name>TalkButton</name>
    <message>
        <source>Stop listening</source>
        <translation>أوقف الاستماع</translation>
    </message>
    <message>
        <source>Start listening</source>
        <translation>ابدأ الاستماع</translation>
    </message>
    <message>
        <source>Hold to talk</source>
        <translation>اضغط مطوّلًا للتكلّم</translation>
    </message>
</context>
<context>
    <name>TopBar</name>
    <message>
        <source>Push to talk</source>
        <translation>اضغط للتكلّم</translation>
    </message>
    <message>
        <source>Hands-free</source>
        <translation>حرّ اليدين</translation>
    </message>
    <message>
        <source>History</source>
        <translation>السجل</translation>
    </message>
    <message>
        <source>Settings</source>
        <translation>الإعدادات</translation>
    </message>
</context>
</TS>
