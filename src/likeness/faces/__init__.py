"""Find, align, measure and compare faces. The only package that runs face-model weights.

detect     what a detector is, and how one is chosen
yunet      photo faces: YuNet through onnxruntime
sitter_detector, landmarks   synthetic sitters: our own small network
align      face -> ArcFace's 112 px square, or a portrait crop, and back
embed      aligned face -> unit vector
quality, doctor   is this photo a good reference, and why not
parts      face, eyes, ears, nose, mouth by geometry
"""
