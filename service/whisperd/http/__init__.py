"""REST, WebSocket and the OpenAI audio API over a socket of their own. Imported only where there is such a socket.

Pure: problems, fields, multipart, base64_json, answers, openai, subtitles of whisperd, metrics, openapi.
Shell, over aiohttp: server, gate, work, uploads, routes, openai_routes, stream.
"""
