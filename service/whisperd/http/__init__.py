"""REST, WebSocket and the OpenAI audio API over a socket of their own. Imported only where there is such a socket.

Pure: problems, fields, multipart, base64_json, answers, prepare, metrics, schemas, openapi.
Shell, over aiohttp: front and waiting (the daemon's start), server, gate, uploads, recording, work, routes,
openai_routes, stream.
"""
