// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tessera authors
//
// A file server for tests of downloads: ranges, validators, and on request every way to fail.
// node range_server.mjs FOLDER LOG READY [KEY CERTIFICATE]. READY gets the ports (HTTP, HTTPS) once it
// listens. A path's leading parts say how to serve the rest:
//   /cut/N/       the connection breaks after N bytes of body      /slow/N/     N bytes every 20 ms
//   /plain/       no ranges, no validators, no length              /weak/       a weak ETag only
//   /status/N/    that status, once a connection                   /short/N/    N bytes fewer than the file has
//   /endless/     zeros without end or length                      /silent/     accepts and never answers
//   /to/http/     redirects to plain HTTP                          /loop/       redirects to itself
//   /ignore/      answers a range with the whole file, as 206      /anew/       the ETag is another every time
import { createReadStream, statSync, appendFileSync, writeFileSync, renameSync, readFileSync } from 'node:fs';
import { createServer as http } from 'node:http';
import { createServer as https } from 'node:https';
import { join, normalize } from 'node:path';

const [folder, log, ready, key, certificate] = process.argv.slice(2);
let plainPort = 0;
let count = 0;

function serve(request, response) {
    const how = {};
    const parts = new URL(request.url, 'http://x').pathname.split('/').slice(1).map(decodeURIComponent);
    while (parts.length > 1) {
        if (['cut', 'slow', 'status', 'short', 'to'].includes(parts[0])) {
            how[parts.shift()] = parts.shift();
        } else if (['plain', 'weak', 'endless', 'silent', 'loop', 'ignore', 'anew'].includes(parts[0])) {
            how[parts.shift()] = true;
        } else {
            break;
        }
    }
    const note = status =>
        appendFileSync(log, `${request.url} ${status} ${request.headers.range ?? '-'} ${request.headers['if-range'] ?? '-'}\n`);
    if (how.silent) {
        note('silent');
        return;
    }
    if (how.loop || how.to) {
        note(302);
        const rest = parts.join('/');
        response.writeHead(302, { Location: how.loop ? request.url : `http://localhost:${plainPort}/${rest}` });
        response.end();
        return;
    }
    if (how.status) {
        note(how.status);
        response.writeHead(Number(how.status), { 'Content-Type': 'text/plain' });
        response.end('no\n');
        return;
    }
    if (how.endless) {
        note('endless');
        response.writeHead(200);
        const zeros = Buffer.alloc(65536);
        const push = () => {
            while (!response.destroyed && response.write(zeros));
        };
        response.on('drain', push);
        push();
        return;
    }
    const path = join(folder, normalize('/' + parts.join('/')));
    let s;
    try {
        s = statSync(path, { bigint: true });
    } catch {
        note(404);
        response.writeHead(404);
        response.end();
        return;
    }
    const size = Number(s.size);
    const etag = `${how.weak ? 'W/' : ''}"${size}-${s.mtimeNs}${how.anew ? '-' + ++count : ''}"`;
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '');
    const condition = request.headers['if-range'];
    const fits = !condition || condition === etag || condition === s.mtime.toUTCString();
    let from = 0;
    let status = 200;
    const headers = {};
    if (!how.plain) {
        headers.ETag = etag;
        headers['Accept-Ranges'] = 'bytes';
        if (!how.weak && !how.anew) headers['Last-Modified'] = s.mtime.toUTCString();
    }
    if (range && fits && !how.plain) {
        from = how.ignore ? 0 : Number(range[1]);
        status = 206;
        if (from >= size) {
            note(416);
            response.writeHead(416, { 'Content-Range': `bytes */${size}` });
            response.end();
            return;
        }
        headers['Content-Range'] = `bytes ${from}-${size - 1}/${size}`;
    }
    const end = size - Number(how.short ?? 0);
    if (!how.plain) headers['Content-Length'] = end - from;
    note(status);
    response.writeHead(status, headers);
    const left = how.cut ? Number(how.cut) : Infinity;
    const stream = createReadStream(path, {
        start: from,
        end: Math.min(end - 1, from + left - 1),
        highWaterMark: how.slow ? Number(how.slow) : 65536,
    });
    stream.on('data', piece => {
        if (response.destroyed) {
            stream.destroy();
            return;
        }
        stream.pause();
        response.write(piece, () => setTimeout(() => stream.resume(), how.slow ? 20 : 0));
    });
    stream.on('end', () => {
        if (from + left < end) {
            setTimeout(() => request.socket.destroy(), 20);
        } else {
            response.end();
        }
    });
}

const servers = [http(serve)];
if (key) servers.push(https({ key: readFileSync(key), cert: readFileSync(certificate) }, serve));
let waiting = servers.length;
for (const server of servers) {
    server.listen(0, '127.0.0.1', () => {
        plainPort = servers[0].address().port;
        if (--waiting === 0) {
            writeFileSync(ready + '.new', servers.map(s => s.address().port).join(' ') + '\n');
            renameSync(ready + '.new', ready);
        }
    });
}
// No test takes longer.
setTimeout(() => process.exit(1), 600000).unref();
