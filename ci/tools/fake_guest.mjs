// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A stand-in for guests in tests of a fleet's endpoint.
//   fake_guest.mjs guest PORT NAME    an HTTP server that answers as the request's body says
//   fake_guest.mjs wake SOCKET SECONDS [FILE]    holds each connection, then closes it without a byte;
//       notes each in FILE
// A body's fields: "delay" ms before the answer, "stream" parts 50 ms apart, "die": "before" or
// "within" the answer (the whole process), "status": of the answer.
import fs from 'node:fs'
import http from 'node:http'
import net from 'node:net'

const [kind, where, name, file] = process.argv.slice(2)
if (kind === 'wake') {
    fs.rmSync(where, { force: true })
    net.createServer((socket) => {
        socket.on('error', () => {})
        if (file) fs.appendFileSync(file, 'held\n')
        setTimeout(() => socket.destroy(), Number(name) * 1000)
    }).listen(where)
} else {
    let health = 200
    http.createServer((request, response) => {
        let body = ''
        request.on('data', (part) => (body += part))
        request.on('end', () => {
            if (request.url === '/health') {
                response.writeHead(health).end('{}')
                return
            }
            if (request.url === '/sick') {
                health = 503
                response.end('sick')
                return
            }
            let wish = {}
            try {
                wish = JSON.parse(body)
            } catch {
                // no wish
            }
            if (wish.die === 'before') process.exit(1)
            const answer = () => {
                response.setHeader('Content-Type', 'application/json')
                response.setHeader('X-Key', request.headers.authorization ?? 'none')
                if (wish.stream) {
                    let left = wish.stream
                    const next = () => {
                        response.write(`data: ${name} ${left}\n\n`)
                        if (wish.die === 'within') setTimeout(() => process.exit(1), 100)
                        else if (--left > 0) setTimeout(next, 50)
                        else response.end('data: [DONE]\n\n')
                    }
                    next()
                } else {
                    response.statusCode = wish.status ?? 200
                    response.end(JSON.stringify({ name, url: request.url, bytes: body.length }))
                }
            }
            setTimeout(answer, wish.delay ?? 0)
        })
    }).listen(Number(where), '127.0.0.1', 511)
}
